import numpy as np
import pytest
import torch
from torch import nn

from study_sets import make_photos
from unface.study.architectures import build
from unface.study.checkpoints import Network
from unface.study.gradcam import draw, grad_cam, look, write_picture
from unface.study.labelled import open_images
from unface.study.reading import ViewReader
from unface.study.settings import SETTINGS
from unface.study.views import evaluation_view


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return build("resnet18", 5).eval()


def test_it_is_cam_where_only_pooling_and_one_layer_follow(resnet):
    """Then it has a closed form: the last layer's weights, applied to the features (Zhou et al. 2016)."""
    image = torch.randn(1, 3, 96, 96)
    logits, maps = grad_cam("resnet18", resnet, image.clone(), 2)
    with torch.no_grad():
        torch.testing.assert_close(logits, resnet(image)[0])
        features = nn.Sequential(*list(resnet.children())[:-2])(image)[0]
    for number, ours in zip((2, int(logits.argmax())), maps, strict=True):
        heat = torch.relu((resnet.fc.weight[number][:, None, None] * features).sum(dim=0)).detach().numpy()
        np.testing.assert_allclose(ours, (heat - heat.min()) / (heat.max() - heat.min()), atol=1e-4)
        assert ours.shape == (3, 3)


@pytest.mark.parametrize(
    "name", ["alexnet", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v2", "densenet121", "mnasnet1_0"]
)
def test_every_family_has_a_map(name):
    torch.manual_seed(1)
    network = build(name, 3).eval()
    _, maps = grad_cam(name, network, torch.randn(1, 3, 128, 128), 0)
    assert all(0 <= each.min() <= each.max() <= 1 for each in maps)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_flat_map_is_no_division_by_zero(resnet):
    network = build("resnet18", 2).eval()
    nn.init.zeros_(network.fc.weight)
    _, maps = grad_cam("resnet18", network, torch.randn(1, 3, 64, 64), 1)
    assert (maps[0] == 0).all()


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    images = open_images(root / "images", make_photos(root, (64, 64)))
    return ViewReader(images, [SETTINGS[name] for name in ("original", "blurred-paper", "red", "reencoded")])


def test_pictures_show_no_face_unless_asked_to(reader, resnet):
    network = Network(build("resnet18", 3).eval(), "resnet18", "original", 1, None, "")
    index = 1
    shown = {each.setting: each.picture for each in look(network, reader, index, 64, 64)}
    asked = {each.setting: each.picture for each in look(network, reader, index, 64, 64, shows_faces=True)}
    box = slice(8, 40), slice(10, 40)
    safe = ViewReader(reader.images, [SETTINGS["blurred"]]).read(index)[0][0]
    original = evaluation_view(reader.read(index)[0][0], 64, 64).numpy()
    for name in ("original", "blurred-paper", "reencoded"):
        np.testing.assert_array_equal(shown[name], evaluation_view(safe, 64, 64).numpy())
        assert (shown[name][box] != original[box]).any(axis=2).mean() > 0.9
    np.testing.assert_array_equal(asked["original"], original)
    np.testing.assert_array_equal(shown["red"], asked["red"])
    assert (shown["red"][box] == (255, 0, 0)).all()


def test_what_the_network_saw_is_told_though_it_is_not_shown(reader, resnet):
    network = Network(build("resnet18", 3).eval(), "resnet18", "original", 1, None, "")
    hidden, asked = (look(network, reader, 1, 64, 64, shows) for shows in (False, True))
    for ours, theirs in zip(hidden, asked, strict=True):
        assert ours.probabilities == theirs.probabilities
        np.testing.assert_array_equal(ours.maps, theirs.maps)
    assert hidden[0].classes[0] == reader.images.labels[1]


def test_a_picture_has_a_column_for_each_setting(reader, tmp_path):
    network = Network(build("resnet18", 3).eval(), "resnet18", "original", 1, None, "")
    page = draw(look(network, reader, 1, 64, 64), reader.images.classes)
    write_picture(tmp_path / "a/1.jpg.png", page)
    assert page.size == (4 * 64 + 3 * 4, 2 * (64 + 34))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["1.jpg.png"]
