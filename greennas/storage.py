"""A study in a database that several people look into, through Optuna's own storage. Passwords stay in this process."""

from __future__ import annotations

import re

from optuna.storages import BaseStorage

from greennas.errors import ConfigError

_passwords: dict[str, str] = {}
"""What ``without_password`` took out of which URL."""


def without_password(url: str) -> str:
    """The URL as it may be shown and written down; ``open_storage`` knows the password that it came with.

    Raises:
        ValueError: not the URL of a database.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose messages repeat the URL
        raise ValueError("this is not the URL of a database; write postgresql://USER:PASSWORD@HOST/DATABASE") from None
    shown = parsed.difference_update_query(["password"])._replace(password=None)  # set() takes None for "as it is"
    text = shown.render_as_string(hide_password=False)
    password = parsed.password or parsed.query.get("password")
    if password:
        _passwords[text] = str(password)
    return text


def mask(text: str) -> str:
    """``text`` with the passwords of URLs in it replaced by stars."""
    return re.sub(r"(password=)[^&\s]*", r"\1***", re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text))


def open_storage(url: str) -> BaseStorage:
    """Optuna's storage for a URL of ``without_password``.

    Without a password of this process, PostgreSQL's own ways to find one hold: PGPASSWORD, ~/.pgpass.

    Raises:
        ConfigError: the database's driver is missing, or the database does not answer.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if url in _passwords:
        parsed = parsed.set(password=_passwords[url])
    try:
        return RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs={"pool_pre_ping": True})
    except ImportError:
        raise ConfigError(
            f"The storage {url} needs the driver {parsed.get_driver_name()}, which is missing; install it (for "
            "PostgreSQL: pip install 'greennas[postgresql]')."
        ) from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise ConfigError(
            f"The storage {url} does not answer ({reason}); check that the server runs, the name and the password."
        ) from None
