"""What can go wrong in the service, and the one table from error class to HTTP status."""

from http import HTTPStatus

from crossfix import errors as contract
from crossfix.errors import CrossfixError


class UnsupportedBody(CrossfixError):
    """The body's content type cannot carry a photo."""

    code = "body_type_unsupported"


class MalformedBody(CrossfixError):
    """The multipart body cannot be parsed."""

    code = "body_malformed"


class BodyTooLarge(CrossfixError):
    """The body is longer than the service reads."""

    code = "body_too_large"


class UploadTooSlow(CrossfixError):
    """The body did not arrive in time."""

    code = "upload_too_slow"


class NotReady(CrossfixError):
    """No gallery is loaded yet, or the service is stopping."""

    code = "not_ready"

    retry_after_s: float = 5.0


class ShardsLost(CrossfixError):
    """The shards that could have answered do not."""

    code = "shards_lost"

    retry_after_s: float = 5.0


class ClusterUnavailable(CrossfixError):
    """The Ray cluster cannot be used."""

    code = "cluster_unavailable"


class Overloaded(CrossfixError):
    """The photo was not accepted because it would wait too long.

    Attributes:
        reason: which limit was hit; a metric label.
        retry_after_s: when it is worth trying again.
    """

    code = "overloaded"

    def __init__(self, message: str, *, reason: str, retry_after_s: float) -> None:
        super().__init__(message, hint="try again after the time in Retry-After, or add a replica")
        self.reason = reason
        self.retry_after_s = retry_after_s


class DeadlineExceeded(CrossfixError):
    """The answer was not ready in time."""

    code = "deadline_exceeded"


class ClientGone(CrossfixError):
    """The client closed the connection before the answer."""

    code = "client_gone"


class AddressUnavailable(CrossfixError):
    """The service cannot listen where it was told to."""

    code = "address_unavailable"


class Unauthorized(CrossfixError):
    """No API key, or one that is not known.

    Attributes:
        reason: `missing`, `malformed`, `unknown` or `expired`; a metric label.
    """

    code = "unauthorized"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Forbidden(CrossfixError):
    """The caller may not do this; `reason` is a metric label."""

    code = "forbidden"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RateLimited(CrossfixError):
    """The caller sends more photos than it may."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, hint="try again after the time in Retry-After")
        self.retry_after_s = retry_after_s


class VersionNotFound(CrossfixError):
    """The gallery has no such version."""

    code = "version_not_found"


class JobNotFound(CrossfixError):
    """There is no rebuild job of this id."""

    code = "job_not_found"


class JobRunning(CrossfixError):
    """Another rebuild is running, or another program is writing the gallery."""

    code = "job_running"


class JobOver(CrossfixError):
    """The job has ended and cannot be cancelled."""

    code = "job_over"


class VersionUnusable(CrossfixError):
    """The asked-for gallery version exists but cannot be served; the old one still is."""

    code = "version_unusable"


class KeysUnusable(CrossfixError):
    """The file of API keys is missing, open to others or not valid."""

    code = "keys_unusable"


class SettingsUnsafe(CrossfixError):
    """Settings that would open more than was meant, or a folder they name that is not there."""

    code = "settings_unsafe"


INTERNAL_MESSAGE = "the service failed to answer; the request id finds the cause in its log"
CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; nobody is left to read it but logs and metrics

STATUS_OF: dict[type[CrossfixError], int] = {
    contract.EmptyImage: HTTPStatus.BAD_REQUEST,
    contract.UnsupportedImageFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    contract.UnreadableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    contract.ImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.InvalidParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    contract.TileNotFound: HTTPStatus.NOT_FOUND,
    UnsupportedBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    MalformedBody: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    VersionNotFound: HTTPStatus.NOT_FOUND,
    JobNotFound: HTTPStatus.NOT_FOUND,
    JobRunning: HTTPStatus.CONFLICT,
    JobOver: HTTPStatus.CONFLICT,
    VersionUnusable: HTTPStatus.CONFLICT,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    ShardsLost: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    ClientGone: CLIENT_CLOSED_REQUEST,
    CrossfixError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(error: CrossfixError) -> int:
    """The HTTP status of an error: that of its nearest listed class."""
    return next(int(STATUS_OF[kind]) for kind in type(error).__mro__ if kind in STATUS_OF)
