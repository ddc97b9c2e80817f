"""Hypothesis strategies that several tests share."""

from hypothesis import strategies as st

#: All that UTF-8 can encode. Hypothesis has the same default, but takes a second to compute it from the codec.
characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=60)
names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
#: Keys as the vendors issue them: printable ASCII without blanks.
keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
identifiers = st.from_regex(r"[a-zA-Z0-9_@\-.]{1,128}", fullmatch=True)
#: Unix times in whole seconds, from 1970 to 2100.
seconds = st.integers(0, 4_102_444_800)
#: Any JSON value, including some that resemble a response.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts | st.sampled_from(["Code", "Data"]), inner, max_size=4)
    ),
    max_leaves=20,
)
