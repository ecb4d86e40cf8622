"""Writers of small sets, as many images (exams, films, files of a joint) as the tests need of each, on one core."""

import pickle

from ortholib.phantom import grazpedwri, joints, mrnet, mura, oai

COUNTS = {"films": 14, "exams": 12, "files": 15, "limbs": mura.FEWEST, "wrists": grazpedwri.FEWEST}
WRITERS = {
    "films": oai.write_oai,
    "exams": mrnet.write_mrnet,
    "files": joints.write_joints,
    "limbs": mura.write_mura,
    "wrists": grazpedwri.write_grazpedwri,
}


def serial(function, tasks: list) -> list:
    pickle.dumps((function, tasks))  # it goes to worker processes
    return [function(task) for task in tasks]
