"""What the tests of streaq share."""

import pytest

#: streaq and coredis leave streams open when they are cancelled: no complaint of those, and of no others.
STREAQ = [
    pytest.mark.usefixtures("what_streaq_leaves"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]
