"""The data sets that the study knows: what each is, how to get it, how it lies on disk, what is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ortholib.data.sets import fracatlas, grazpedwri, kneekl, mrnet, mura, oai
from ortholib.data.table import ImageSet


@dataclass(frozen=True)
class SetCard:
    """One data set.

    registration: whether its owner wants to know who downloads it. patients: whether `group` comes from the release (a
    patient or an exam) and not from a search for copies. label: the main one. folders: names its folder goes by under
    the data root. layout: what lies in it. get: how to come by it. defects: what is known to be wrong with the release.
    """

    name: str
    title: str
    licence: str
    registration: bool
    patients: bool
    label: str
    where: str
    citation: str
    folders: tuple[str, ...]
    read: Callable[[Path], ImageSet]
    layout: str
    get: str
    defects: tuple[str, ...]


CARDS = (
    SetCard(
        name="fracatlas",
        title="FracAtlas: fractures of hand, leg, hip and shoulder",
        licence="CC BY 4.0",
        registration=False,
        patients=False,
        label="fractured",
        where="doi 10.6084/m9.figshare.22363012",
        citation="Abedeen et al., Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4",
        folders=("FracAtlas", "fracatlas"),
        read=fracatlas.read,
        layout="dataset.csv, images/{Fractured,Non_fractured}/IMGnnnnnnn.jpg, Annotations/, Utilities/Fracture Split/",
        get="`ortholib data fetch fracatlas`, or unpack the archive of the article by hand",
        defects=(
            "No patient is named: a split by patient is impossible.",
            "59 JPEG files of the 2023 release are truncated, all of them without a fracture.",
            "Copies, some with opposite labels, some across the official parts.",
            "dataset.csv calls IMG0003298 not fractured and counts one fracture in it.",
            "Annotations lie in the frame of the EXIF-turned image; 25 files are turned.",
        ),
    ),
    SetCard(
        name="kneekl",
        title="Knee Osteoarthritis Severity Grading: Kellgren-Lawrence grades",
        licence="CC BY 4.0",
        registration=False,
        patients=True,
        label="kl",
        where="doi 10.17632/56rmx5bjcr.1",
        citation="Chen, Mendeley Data 56rmx5bjcr (2018), derived from the Osteoarthritis Initiative",
        folders=("kneeKL224", "KneeXrayData/ClsKLData/kneeKL224", "kneekl", "archive"),
        read=kneekl.read,
        layout="{train,val,test}/{0,1,2,3,4}/, files such as 9003175L.png (patient, side); auto_test/ is left out",
        get="download ClsKLData from https://data.mendeley.com/datasets/56rmx5bjcr/1 and unpack it",
        defects=(
            "auto_test/ holds the test knees a second time, cropped by a detector.",
            "Cropped knees of one cohort; one reading a knee.",
            "Both knees of a patient are in the set: they are not independent.",
        ),
    ),
    SetCard(
        name="mura",
        title="MURA v1.1: abnormal or normal radiographs of the upper limb",
        licence="Stanford's research use agreement",
        registration=True,
        patients=True,
        label="abnormal",
        where="stanfordmlgroup.github.io/competitions/mura",
        citation="Rajpurkar et al., MIDL 2018, arXiv 1712.06957",
        folders=("MURA-v1.1", "mura", "MURA"),
        read=mura.read,
        layout="{train,valid}/XR_PART/patientNNNNN/studyN_{positive,negative}/imageN.png and four csv files",
        get="register on the page, accept the agreement, unpack MURA-v1.1.zip",
        defects=(
            "The label is of a study; not every image of an abnormal study shows the abnormality.",
            "The hidden test part was never released: published test scores cannot be recomputed.",
            "A patient recurs across body parts; some archives hold `._` files of macOS that are no images.",
        ),
    ),
    SetCard(
        name="grazpedwri",
        title="GRAZPEDWRI-DX: paediatric wrists with boxes of nine findings",
        licence="CC BY 4.0",
        registration=False,
        patients=True,
        label="fracture",
        where="doi 10.6084/m9.figshare.14825193",
        citation="Nagy et al., Scientific Data 9:222 (2022), doi 10.1038/s41597-022-01328-z",
        folders=("GRAZPEDWRI-DX", "grazpedwri"),
        read=grazpedwri.read,
        layout="images_part1..4/*.png (16-bit), dataset.csv, folder_structure/yolov5/labels/*.txt",
        get="download https://ndownloader.figshare.com/files/35026432 (dataset.csv), likewise 34268819 "
        "(folder_structure.zip) and 34268828, 34268849, 34268864, 34268891 (images_part1.zip to images_part4.zip), and "
        "unpack them into one folder",
        defects=(
            "16-bit PNG: tools that clip instead of scaling show white squares.",
            "dataset.csv begins with a byte order mark.",
        ),
    ),
    SetCard(
        name="mrnet",
        title="MRNet v1.0: knee MRI exams with ACL tears, meniscus tears and abnormalities",
        licence="Stanford's research use agreement",
        registration=True,
        patients=True,
        label="abnormal",
        where="stanfordmlgroup.github.io/competitions/mrnet",
        citation="Bien et al., PLoS Medicine 15:e1002699 (2018), doi 10.1371/journal.pmed.1002699",
        folders=("MRNet-v1.0", "mrnet", "MRNet"),
        read=mrnet.read,
        layout="{train,valid}/{axial,coronal,sagittal}/NNNN.npy (uint8, slices x 256 x 256) and label csv files",
        get="register on the page, accept the agreement, unpack MRNet-v1.0.zip",
        defects=(
            "No patient is named: the unit is the exam, and two exams of one patient cannot be told.",
            "The hidden test part was never released.",
        ),
    ),
    SetCard(
        name="oai",
        title="Osteoarthritis Initiative: bilateral knee radiographs with semi-quantitative readings",
        licence="OAI data use agreement (NIMH Data Archive)",
        registration=True,
        patients=True,
        label="kl",
        where="nda.nih.gov/oai",
        citation="Nevitt, Felson, Lester: The Osteoarthritis Initiative, protocol for the cohort study (2006)",
        folders=("OAI", "oai"),
        read=oai.read,
        layout="00m/0.C.2/PATIENT/DATE/SERIES/001 (DICOM, one folder a visit) and the tables kxr_sq_buNN.txt",
        get="request access at the NIMH Data Archive, download the bilateral PA radiographs and the reading tables",
        defects=(
            "Readings of several projects overlap; not every knee was read at every visit.",
            "Public copies (kneeKL224) share its patients: never train on one and test on the other.",
        ),
    ),
)
