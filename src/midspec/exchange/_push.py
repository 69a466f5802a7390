"""An exported folder to the Hugging Face hub, only ever when asked."""

from __future__ import annotations

import os
from pathlib import Path

from midspec.errors import ConfigError, MissingError

__all__ = ["push"]

_TOKEN = "HF_TOKEN"  # noqa: S105 (the name of a variable)


def push(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload an exported folder as a data set repository; returns the address of the commit.

    The token comes from the environment (`HF_TOKEN`) and appears nowhere else; `HF_ENDPOINT` names another hub. The
    record of the export and hidden files stay here. A repository that exists is added to and keeps its visibility.

    Args:
        folder: what `export` made.
        repo_id: `owner/name`.
        private: whether a new repository is visible to its owner alone.

    Raises:
        ConfigError: there is no token, or the hub refuses it or the name, or can't be reached.
        MissingError: the folder is no exported data set.
    """
    if not (folder / "README.md").is_file() or not (folder / "data").is_dir():
        raise MissingError("is no exported data set", where=str(folder), mend="Run midspec export first")
    token = os.environ.get(_TOKEN)
    if not token:
        mend = "Make a token with write access on the hub and export it under that name"
        raise ConfigError("is not set, and pushing to the hub needs it", where=_TOKEN, mend=mend)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Of whichever HTTP library the hub library stands on: what it raises where there is no answer at all.
    no_answer: type[Exception] = HfHubHTTPError.__bases__[0]
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        hub.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Data exported by midspec",
            ignore_patterns=["record.json", ".*", "**/.*"],
        )
    except HFValidationError as error:
        raise ConfigError("is not the name of a repository", where=repo_id, mend="Write it as owner/name") from error
    except HfHubHTTPError as error:
        said = " ".join((error.server_message or "").split())[:200]
        reason = f"the hub answered {error.response.status_code}" + (f" ({said})" if said else "")
        mend = "Check the name, and that the token may write there"
        raise ConfigError(reason, where=repo_id, mend=mend) from error
    except (ConnectionError, no_answer) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"the hub can't be reached: {said}", where=repo_id, mend="Check the network") from error
    return str(commit.commit_url)
