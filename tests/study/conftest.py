import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")


@pytest.fixture
def one_thread():
    """Torch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
