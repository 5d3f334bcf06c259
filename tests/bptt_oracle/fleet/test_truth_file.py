"""The shipped truth: what it says, and what happens if it is not the one that was shipped."""

import io
import shutil
import zipfile

import numpy as np
import pytest

from bptt_oracle.fleet import fixed_cases, make_truth, truth_file
from bptt_oracle.fleet.fixed_cases import CASES, DTYPES
from bptt_oracle.fleet.truth_file import BadTruth, read, write


@pytest.fixture
def copy(tmp_path):
    for file in (truth_file.FILE, truth_file.FILE.with_suffix(".sha256")):
        shutil.copy(file, tmp_path)
    return tmp_path / "truth.npz"


def arrays_of(file):
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_it_is_small():
    assert truth_file.FILE.stat().st_size < 3e6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_it_has_truth_and_noise_of_every_result(name, dtype):
    expected = read().expected(CASES[name], dtype)
    problem = fixed_cases.draw_problem(CASES[name])
    results = {"output", "h_n", *(f"d_{n}" for n in fixed_cases.inputs_of(problem))}
    assert {*expected.truth} - {"c_n"} == results
    for tensor, truth in expected.truth.items():
        elements = expected.elements[tensor]
        assert truth.shape == elements.sizes.shape == elements.deviation.shape
        assert np.isfinite(truth).all() and (elements.sizes > 0).all()
    loud = {n for n, t in expected.truth.items() if abs(t).max() > 16 * expected.noise[n][0]}
    assert loud if dtype == "bfloat16" else loud == {*expected.truth}


def test_the_command_that_made_it_makes_the_same_truth():
    """Of the smallest case. The noise comes from products of NumPy's BLAS, which may be another.
    Truth is rounded from a wider type, in which sums may have another order: it agrees to 10⁻¹⁷ of
    the largest number."""
    made, shipped = make_truth.compute(CASES["steps"]), read().arrays
    assert {*made} == {name for name in shipped if name.split("/")[0] in ("steps", "inputs")} - {
        "inputs/gru",
        "inputs/lstm",
    }
    for name, value in made.items():
        if name.count("/") == 1 and value.dtype.kind == "f":
            atol = 1e-17 * np.abs(value).max()
            np.testing.assert_allclose(value, shipped[name], rtol=2**-52, atol=atol)
        elif name.count("/") == 1:
            assert np.array_equal(value, shipped[name]), name
        elif not name.endswith("scalars"):
            np.testing.assert_allclose(np.mean(value), np.mean(shipped[name]), rtol=0.25)


@pytest.mark.parametrize("place", [0, 30, 100_000, -30])
def test_one_flipped_bit_is_found(copy, place):
    content = bytearray(copy.read_bytes())
    content[place] ^= 1
    copy.write_bytes(content)
    with pytest.raises(BadTruth, match="is damaged: its SHA-256 is not the one beside it"):
        read(copy)


def test_a_file_that_was_cut_off_is_found(copy):
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(BadTruth, match="is damaged"):
        read(copy)


@pytest.mark.parametrize("stated", [b"", b"\xff\x00", b"0" * 64 + b"  truth.npz\n"])
def test_another_digest_is_found(copy, stated):
    copy.with_suffix(".sha256").write_bytes(stated)
    with pytest.raises(BadTruth, match="is damaged"):
        read(copy)


@pytest.mark.parametrize("suffix", [".npz", ".sha256"])
def test_a_missing_file_is_named(copy, suffix):
    copy.with_suffix(suffix).unlink()
    with pytest.raises(BadTruth, match=f"truth{suffix}: No such file"):
        read(copy)


def test_truth_of_other_inputs_is_rejected(copy):
    arrays = arrays_of(copy)
    write(copy, arrays | {"inputs/gru": np.array("0" * 64)})
    with pytest.raises(BadTruth, match="truth of other inputs than those of gru"):
        read(copy)


def test_missing_noise_is_rejected(copy):
    arrays = arrays_of(copy)
    del arrays["steps/d_x/bfloat16/scalars"]
    write(copy, arrays)
    with pytest.raises(BadTruth, match="lacks the noise of steps in bfloat16"):
        read(copy)


def test_nothing_is_unpickled(copy):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], dtype=object))
    copy.write_bytes(buffer.getvalue())
    write_digest(copy)
    with pytest.raises(BadTruth, match="is not a file of arrays: Object arrays cannot be loaded"):
        read(copy)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_what_is_no_archive_is_rejected(copy, content):
    copy.write_bytes(content)
    write_digest(copy)
    with pytest.raises(BadTruth, match="is not a file of arrays"):
        read(copy)


def test_an_archive_of_other_files_is_rejected(copy):
    with zipfile.ZipFile(copy, "w") as archive:
        archive.writestr("a.txt", "text")
    write_digest(copy)
    with pytest.raises(BadTruth):
        read(copy)


def write_digest(file):
    """The right digest of any content."""
    import hashlib

    file.with_suffix(".sha256").write_text(hashlib.sha256(file.read_bytes()).hexdigest())
