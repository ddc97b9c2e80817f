"""The keys of a ``VolcengineClient``: a signer for the credentials of the moment, and the account that they are of."""

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import AuthenticationError
from volc_moderation.log_events import LogEvent
from volc_moderation.renewed_keys import NO_CREDENTIALS, KeySource
from volc_moderation.volcengine.signing import Signer


class SigningKeys:
    """A ``KeySource`` of signers: each signs with the credentials that were valid when it was returned.

    Quotas and jobs belong to the account, which does not change when the credentials are renewed.

    :param source: where the credentials come from.
    :param region: the region that is signed.
    :param account: the name of the account; None to learn it from the credentials.
    """

    def __init__(self, source: KeySource[VolcengineCredentials], *, region: str, account: str | None) -> None:
        self._source = source
        self._region = region
        self._signer: Signer | None = None
        #: The name of the account, once it is known.
        self.account = account
        #: Whether that is the access key of a temporary pair, which means nothing to other processes.
        self.is_account_temporary = False
        #: The access key of a long-term pair. Jobs may have been stored under it before ``account`` was given.
        self.long_term_access_key: str | None = None
        #: The id of the account of the first credentials, if they said it.
        self._account_id: str | None = None

    def current(self) -> Signer | None:
        """Return a signer for valid credentials, or None if the caller has to wait for them with ``get``."""
        credentials, signer = self._source.current(), self._signer
        if credentials is None:
            return None
        return signer if signer is not None and signer.credentials is credentials else self._use(credentials)

    async def get(self) -> Signer:
        """Wait for valid credentials. Raises ``AuthenticationError`` if there are none."""
        return self._use(await self._source.get())

    def replace(self, refused: Signer) -> bool:
        """Replace credentials that the vendor has refused. Return whether a call with others is worth a try."""
        return self._source.replace(refused.credentials)

    def _use(self, credentials: VolcengineCredentials) -> Signer:
        """Sign with other credentials from now on. Raises ``AuthenticationError`` if they are of another account."""
        if self._account_id is None:
            self._account_id = credentials.account
        elif credentials.account not in (None, self._account_id):
            # Jobs and quotas would silently move to it.
            reason = f"the new keys belong to account {credentials.account}, the first ones to {self._account_id}"
            raise AuthenticationError(reason, code=NO_CREDENTIALS)
        if not credentials.are_temporary and self.long_term_access_key is None:
            self.long_term_access_key = credentials.access_key
        if self.account is None:
            self.account = credentials.account or credentials.access_key
            self.is_account_temporary = credentials.account is None and credentials.are_temporary
            if self.is_account_temporary:
                LogEvent.ACCOUNT_UNKNOWN.log(
                    "the keys are temporary and do not name their account: give account=, or other processes do not "
                    "share its quotas"
                )
        elif self.is_account_temporary and credentials.account is not None:
            self.account, self.is_account_temporary = credentials.account, False
        self._signer = Signer(credentials, region=self._region)
        return self._signer
