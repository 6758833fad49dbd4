"""Checkpoints on the Hugging Face hub, by `org/name`."""

from __future__ import annotations

from pathlib import Path

from .errors import UnknownModelError

PATTERNS = ("*.safetensors", "*.json", "*.jinja")


def snapshot(name: str) -> Path:
    """The directory of a hub checkpoint: from the hub's cache, or fetched into it, where a broken download resumes.

    HF_HUB_OFFLINE and HF_HOME are honoured. Only weights in safetensors and small text files are fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(PATTERNS), ignore_patterns=["*/*"]))
    except GatedRepoError:
        raise UnknownModelError(
            f"{name}: the hub wants you to accept its terms and to log in (hf auth login)"
        ) from None
    except RepositoryNotFoundError:
        raise UnknownModelError(f"{name}: the hub has no such model, or it is private (hf auth login)") from None
    except LocalEntryNotFoundError:
        raise UnknownModelError(f"{name}: not in the hub's cache, and the hub cannot be reached") from None
    except (HfHubHTTPError, OSError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnknownModelError(f"{name}: the hub cannot be reached or refuses: {text[:200]}") from None
