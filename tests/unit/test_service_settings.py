"""Settings: environment, validation, what suits a device, and the command line's words."""

import pytest
from pydantic import ValidationError

from service.__main__ import read_settings
from service.cores import available_cores
from service.settings import Settings

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
NEEDED = {"encoder": "e", "gallery": "g"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "tpu"),
        ("device", "cpu:1"),
        ("device", "cuda:x"),
        ("port", 70_000),
        ("default_k", 0),
        ("default_k", 101),
        ("deadline_s", 0),
        ("queue_limit", 0),
        ("reload_interval_s", -1),
        ("max_body_bytes", 3),
        ("unknown", 1),
    ],
)
def test_impossible_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**NEEDED, **{name: value})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_devices(device: str) -> None:
    assert Settings(**NEEDED, device=device).device == device


def test_the_environment_is_read_and_flags_win(monkeypatch) -> None:
    monkeypatch.setenv("CROSSFIX_ENCODER", "from-environment")
    monkeypatch.setenv("CROSSFIX_PORT", "1234")
    settings = read_settings(["--gallery", "g", "--port", "4321"])
    assert (str(settings.encoder), str(settings.gallery)) == ("from-environment", "g")
    assert settings.port == 4321


def test_batches_of_one_on_a_cpu_and_one_worker_on_a_gpu() -> None:
    settings = Settings(**NEEDED)
    assert settings.max_batch_for(CPU) == 1
    assert settings.max_batch_for(CUDA) == 16
    assert settings.encode_workers_for(CPU) == available_cores()
    assert settings.encode_workers_for(CUDA) == 1
    chosen = Settings(**NEEDED, max_batch=3, encode_workers=5)
    assert (chosen.max_batch_for(CPU), chosen.encode_workers_for(CUDA)) == (3, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--encoder (CROSSFIX_ENCODER)"),
        (["--encoder", "e", "--gallery", "g", "--port", "many"], "--port"),
        (["--encoder", "e", "--gallery", "g", "--device", "tpu"], "use auto, cpu, cuda"),
        (["--encoder", "e", "--gallery", "g", "--default-k", "900"], "--default-k"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_2(arguments, words, capsys, monkeypatch) -> None:
    monkeypatch.delenv("CROSSFIX_ENCODER", raising=False)
    with pytest.raises(SystemExit) as stop:
        read_settings(arguments)
    assert stop.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert words in complaint


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CROSSFIX_KEY", "/keys.json", "the nearest is CROSSFIX_KEYS"),
        ("CROSSFIX_TRUSTED_PROXY", "10.0.0.1", "CROSSFIX_TRUSTED_PROXIES"),
        ("crossfix_key", "/keys.json", "CROSSFIX_KEYS"),
        ("CROSSFIX_PORT", "tcp://10.0.0.1:8000", "enableServiceLinks: false"),
    ],
)
def test_a_variable_that_is_no_setting_stops_the_start(
    monkeypatch, capsys, variable, value, words
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit):
        read_settings(["--encoder", "e", "--gallery", "g"])
    assert words in capsys.readouterr().err


def test_what_kubernetes_says_of_its_services_is_passed_over(monkeypatch) -> None:
    for variable, value in {
        "CROSSFIX_SERVICE_HOST": "10.0.0.1",
        "CROSSFIX_SERVICE_PORT": "8000",
        "CROSSFIX_SERVICE_PORT_HTTP": "8000",
        "CROSSFIX_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "CROSSFIX_PORT_8000_TCP_PROTO": "tcp",
        "CROSSFIX_PORT_8000_TCP_ADDR": "10.0.0.1",
        "CROSSFIX_TOWN_PORT": "tcp://10.0.0.2:8000",
    }.items():
        monkeypatch.setenv(variable, value)
    assert read_settings(["--encoder", "e", "--gallery", "g"]).port == 8000


def test_a_wrong_flag_is_told_in_plain_words(capsys) -> None:
    for flags, words in (
        (["--port", "many"], "(CROSSFIX_PORT): must be a whole number"),
        (["--default-k", "900"], "(CROSSFIX_DEFAULT_K): must be at most 100"),
        (["--precision", "fp8"], "(CROSSFIX_PRECISION): must be 'fp32', 'fp16' or 'int8'"),
    ):
        with pytest.raises(SystemExit):
            read_settings(["--encoder", "e", "--gallery", "g", *flags])
        assert words in capsys.readouterr().err
