"""Reading the environment: everything is said that helps, and never a secret."""

from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest

from audit_log.settings import Settings as AuditLog
from notifier.settings import Settings as Notifier
from shared.settings import ServiceSettings, SettingsError

SECRET = "hunter2-s3cret"  # noqa: S105
KEY = b64encode(bytes(32)).decode()
GOOD = {"GALLRA_DATABASE": f"postgresql://u:{SECRET}@db/x"}
AUDIT_LOG = {**GOOD, "GALLRA_LOG_ORIGIN": "log.example/main", "GALLRA_LOG_KEY": SECRET}
NOTIFIER = {
    **GOOD,
    "GALLRA_SMTP": "mail.example:25",
    "GALLRA_SMTP_PASSWORD": SECRET,
    "GALLRA_MAIL_FROM": "gallra@provider.example",
    "GALLRA_ONCALL": "a@provider.example, b@provider.example",
    "GALLRA_ADDRESS_KEY": KEY,
    "GALLRA_POLICIES": "policies",
}


def refusal(settings: type[ServiceSettings], environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as error:
        settings.read(environ)
    assert SECRET not in f"{error.value!r} {error.value.__cause__!r}"
    return str(error.value)


def test_names_without_our_prefix_are_somebody_elses():
    settings = ServiceSettings.read({**GOOD, "PATH": "/bin", "DATABASE": "theirs"})
    assert settings.database.get_secret_value() == GOOD["GALLRA_DATABASE"]
    assert (settings.kafka, settings.topic_prefix, settings.http_port) == (
        "127.0.0.1:9092",
        "",
        8080,
    )


def test_values_are_read_as_what_they_are():
    settings = AuditLog.read(
        {**AUDIT_LOG, "GALLRA_HTTP_PORT": "8181", "GALLRA_CHECKPOINT_EVERY": "0.5"}
    )
    assert (settings.http_port, settings.checkpoint_every) == (8181, timedelta(seconds=0.5))


def test_nothing_is_read_behind_our_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GALLRA_DATABASE", "postgresql://from-the-process")
    assert "GALLRA_DATABASE" in refusal(ServiceSettings, {})


def test_settings_do_not_show_their_secrets():
    for settings in (AuditLog.read(AUDIT_LOG), Notifier.read(NOTIFIER)):
        assert SECRET not in f"{settings} {settings!r} {settings.model_dump()}"
        assert SECRET not in settings.model_dump_json()


def test_a_misspelt_name_is_an_error_that_lists_the_known_ones():
    text = refusal(ServiceSettings, {**GOOD, "GALLRA_DATABSE": SECRET})
    assert text.startswith("GALLRA_DATABSE is not a setting")
    assert "GALLRA_DATABASE" in text


def test_a_misspelt_name_of_a_file_is_an_error(tmp_path: Path):
    path = tmp_path / "database"
    path.write_text(SECRET)
    text = refusal(ServiceSettings, {**GOOD, "GALLRA_DATABSE_FILE": str(path)})
    assert text.startswith("GALLRA_DATABSE_FILE is not a setting")


def test_a_secret_may_stand_in_a_file(tmp_path: Path):
    path = tmp_path / "database"
    path.write_text(f"{SECRET}\n")
    settings = ServiceSettings.read({"GALLRA_DATABASE_FILE": str(path)})
    assert settings.database.get_secret_value() == SECRET


def test_a_value_and_a_file_are_one_too_many(tmp_path: Path):
    path = tmp_path / "database"
    path.write_text(SECRET)
    for environ in (
        {**GOOD, "GALLRA_DATABASE_FILE": str(path)},
        {"GALLRA_DATABASE_FILE": str(path), **GOOD},
    ):
        assert "GALLRA_DATABASE is set twice" in refusal(ServiceSettings, environ)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    binary = tmp_path / "binary"
    binary.write_bytes(SECRET.encode() + b"\xff")
    for path in (tmp_path / "missing", tmp_path, binary):
        text = refusal(ServiceSettings, {"GALLRA_DATABASE_FILE": str(path)})
        assert text.startswith("GALLRA_DATABASE_FILE names a file that")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GALLRA_HTTP_PORT", SECRET),
        ("GALLRA_HTTP_PORT", "0"),
        ("GALLRA_HTTP_PORT", "65536"),
        ("GALLRA_LOG_LEVEL", SECRET),
        ("GALLRA_LOG_ORIGIN", f"two words {SECRET}"),
        ("GALLRA_LOG_ORIGIN", "plus+sign"),
        ("GALLRA_CHECKPOINT_EVERY", SECRET),
        ("GALLRA_CHECKPOINT_EVERY", "0"),
        ("GALLRA_CHECKPOINT_EVERY", "-1"),
        ("GALLRA_CHECKPOINT_EVERY", "nan"),
        ("GALLRA_CHECKPOINT_EVERY", "inf"),
        ("GALLRA_CHECKPOINT_EVERY", "1e300"),
    ],
)
def test_a_bad_value_is_named_by_its_setting(name: str, value: str):
    assert refusal(AuditLog, {**AUDIT_LOG, name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GALLRA_SMTP", SECRET),
        ("GALLRA_ADDRESS_KEY", SECRET),
        ("GALLRA_ADDRESS_KEY", f"ö{SECRET}"),
        ("GALLRA_ADDRESS_KEY", b64encode(bytes(31)).decode()),
        ("GALLRA_MAIL_FROM", SECRET),
        ("GALLRA_MAIL_FROM", "a@provider.example,b@provider.example"),
        ("GALLRA_ONCALL", f"a@provider.example,{SECRET}"),
        ("GALLRA_ONCALL", ""),
    ],
)
def test_a_bad_value_of_the_notifier_is_named_by_its_setting(name: str, value: str):
    assert refusal(Notifier, {**NOTIFIER, name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["GALLRA_DATABASE", "GALLRA_LOG_ORIGIN", "GALLRA_LOG_KEY"])
def test_what_is_missing_is_named(name: str):
    environ = {n: v for n, v in AUDIT_LOG.items() if n != name}
    assert refusal(AuditLog, environ).startswith(f"{name}: ")


def test_every_problem_is_named_at_once():
    text = refusal(AuditLog, {"GALLRA_HTTP_PORT": "0"})
    assert text.count("GALLRA_") == len(AUDIT_LOG) + 1
