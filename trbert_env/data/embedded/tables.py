"""Names, phrases and number ranges from which the embedded corpus draws its entities and values.

Every table of name parts is cut in two: one item in four belongs to the validation split, the rest to the
training split, so that no name of one split can be built in the other. Phrases that name nothing
("glazed brick") and numbers are common to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

#: The parts that the tables of names are cut in; the SQuAD2-form corpus has just these splits.
SPLITS = ("train", "validation")


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split("|")]


_FIRST_NAMES = _words(
    """Clara Henrik Amelia Rosalind Theo Magnus Ingrid Edmund Beatrice Casper Louisa Otto Harriet Julian
    Selma Rupert Agnes Felix Winifred Anton Matilda Leopold Cecilia Hugo Florence Bernard Sylvia Conrad
    Adelaide Walter Helena Oscar Miriam Gustav Nora Alfred Isolde Percy Dagmar Edgar Judith Lionel Petra
    Ambrose Cordelia Simeon Greta Horace Valentina Cyril Marianne Tobias Eleanor Viktor Philippa Jasper
    Ottilie Martin Rosemary Emil"""
)
_SURNAMES = _words(
    """Wexler Halvorsen Marchetti Pemberton Lindqvist Okafor Delacroix Ashdown Novak Thornbury Castellan
    Brandt Whitlock Moreau Sorensen Kirkwood Valdez Hargrove Petrov Lancaster Bergman Quimby Ferreira
    Stanhope Rosenthal Macready Dubois Winslow Takeda Ellsworth Hollander Carmichael Grimaldi Osborne
    Vasquez Radcliffe Nystrom Fairbanks Kowalski Beaumont Tennant Schiller Abernathy Romano Lockhart
    Jankowski Merriweather Haldane Salazar Prescott Eriksen Bancroft Ivanov Gallagher Hathaway Zimmerman
    Cavendish Laurent Mortimer Silveira Underhill Blackwood Drummond Varga Pennington Reinhardt Sinclair
    Montague Larsen Whitaker Fontaine Barlow Krueger Ainsworth Castillo Devereux Holloway Stroud Maddox
    Yardley"""
)
_PLACE_STEMS = _words(
    """Alder Amber Barrow Bexing Birken Bramble Brindle Calder Carden Copper Corring Crom Dallen Draven
    Dunster Elling Elmer Esker Fallow Farring Fenwick Fleet Garren Gilder Glaven Gorring Hadder Hallow
    Harken Haver Heather Hollen Ingle Ivers Kelder Kemp Kirk Lamber Larken Leming Linden Lorring Malver
    Marsh Melling Mossen Nether Norring Oaken Orrin Otter Pallen Pelham Penning Quarring Ravens Redding
    Rother Rushen Salter Sedge Selding Shelder Silver Stan Stoner Tarren Thistle Thorn Tilling Tolling
    Ulver Vander Walder Warring Weather Welling Wharram Willow Yarrow"""
)
_PLACE_ENDINGS = _words("wick ford ham mouth stead by dale bury holm haven field gate minster bridge")
_RIVER_STEMS = _words(
    """Tam Vel Ost Kar Lir Mor Nes Ur Dov Gal Bren Sil Thur Var Yar Zel Isk Ol Per Quen Rav Sab Tev Ul Wen
    Had Jor Lom Mag Nev Orv Pol Rus Stor Tyl Vord Ans Bel Cor Dun Erl Fal Gris Hel"""
)
_RIVER_MIDDLES = ("", "an", "or", "il", "um")
_RIVER_ENDINGS = _words("ava enna ara isk oda une ella ira ombe eth arra ula ane osa")
_EMBLEMS = _words(
    """Lantern Heron Kestrel Compass Orchard Falcon Beacon Harvest Meridian Sparrow Anchor Ember Juniper
    Voyager Cormorant Summit Tempest Marigold Pilgrim Sentinel Osprey Cascade Herald Mariner Nightingale
    Aurora Badger Clover Dolphin Foxglove Gannet Horizon Ibis Jackdaw Laurel Magpie Nomad Oracle Pelican
    Quartz Raven Sapphire Thistledown Umbra Viceroy Wanderer Zephyr Curlew Drifter Firebird Granite
    Hawthorn Icarus Linnet Minstrel Nautilus Petrel Rowan Swift Trident"""
)
_EPITHETS = _words(
    """Grey Northern Silent Crimson Gilded Hollow Last Patient Wandering Distant Broken Winter Faithful
    Lonely Painted Southern Restless Proud Midnight Golden"""
)
_SECTORS = _words("Instruments Textiles Foundry Motors Chemicals Optics Shipyards Paper Ceramics Brewing Cycles Tools")
_COLLECTIONS = _words("Glass Cartography Textiles Clocks Printing Ceramics Folklore Railways")
_BRIDGES = ("Bridge", "Viaduct", "Footbridge", "Aqueduct")
_CLUBS = _words("Rovers United Athletic Wanderers Albion Rangers")
_ORCHESTRAS = _words("Philharmonic Sinfonia Chamber_Orchestra Symphony String_Ensemble")
_MONTHS = _words("January February March April May June July August September October November December")

_PHRASES = {
    "field": _phrases(
        """tidal currents | the chemistry of dyes | volcanic ash | the migration of eels | alpine mosses
        | the flight of beetles | ancient measures of weight | the structure of ice |
        medieval harvest records | soil bacteria | the colours of birds' eggs | deep wells and springs
        | the language of bees | magnetic storms"""
    ),
    "product": _phrases(
        """brass barometers | folding stoves | enamel cookware | pressure gauges | railway lamps |
        sewing machines | weighing scales | surgical needles | marine engines | printing ink |
        waterproof canvas | roller skates | wall clocks | fishing reels | pocket cameras |
        glass insulators"""
    ),
    "cause": _phrases(
        """a shortage of timber | an outbreak of typhoid | a dispute over wages | the failure of a dam |
        a lawsuit over patents | rising coal prices | a fire in the engine house | a severe drought |
        the collapse of a bank | an unusually heavy snowfall | a quarrel between the owners |
        the theft of the payroll | damp in the foundations"""
    ),
    "material": _phrases(
        """glazed brick | grey granite | riveted steel | larch timber | pink sandstone |
        reinforced concrete | wrought iron | white limestone | black basalt | oak planks |
        cast aluminium | yellow marble | slate and mortar"""
    ),
    "animal": _phrases(
        """the river otter | the marsh harrier | the fire salamander | the giant catfish |
        the water shrew | the grey seal | the mountain hare | the crested newt | the white stork |
        the freshwater pearl mussel | the pine marten"""
    ),
    "crop": _phrases(
        """barley | saffron | hops | flax | plums | mustard seed | asparagus | cherries | sugar beet |
        lavender | walnuts | tobacco | buckwheat"""
    ),
    "cargo": _phrases(
        """raw cotton | salted herring | roofing slate | tea and spices | railway sleepers |
        frozen mutton | phosphate | olive oil | machine parts | coffee beans | marble blocks |
        sacks of rye | copper ore"""
    ),
    "gift": _phrases(
        """a silver astrolabe | a collection of carved masks | a painted globe | two Roman mosaics |
        a whalebone sledge | an illuminated psalter | a wooden printing press |
        a set of ivory chess pieces | a bronze tiger | an amber necklace | a mechanical songbird |
        a fragment of a Viking sail"""
    ),
    "theme": _phrases(
        """the guilt of survivors | the end of a friendship | exile and return | the price of ambition |
        rivalry between sisters | a forbidden inheritance | the decline of a farming village |
        life under occupation | forgiveness | the loneliness of lighthouse keepers |
        corruption in high office | memory and loss"""
    ),
    "target": _phrases(
        """a ring of icy dust | the atmosphere of Venus | a near-Earth asteroid | the solar wind |
        the poles of Mercury | a dying comet | the moons of Neptune | gamma-ray bursts |
        the far side of the Moon | the magnetic field of Jupiter | space debris | the storms of Saturn"""
    ),
    "tool": _phrases(
        """an infrared camera | a dust counter | a radar altimeter | a laser range finder |
        a plasma detector | a neutron spectrometer | a stereo telescope | a drill for frozen soil |
        a microwave sounder | a gas chromatograph"""
    ),
    "goal": _phrases(
        """a route across the glacier | the wreck of a whaling ship | the source of the warm spring |
        a pass through the mountains | rare orchids | the southern magnetic pole |
        a lost mission station | fossils of early fish | untouched stands of cedar |
        an ancient caravan road | the nesting grounds of petrels"""
    ),
    "vehicle": _phrases(
        """dog sledges | mule carts | collapsible canoes | three tracked lorries | a chartered steamer |
        camels | a hot-air balloon | snowshoes and hand sleds | flat-bottomed barges | two seaplanes |
        a convoy of jeeps | Icelandic ponies"""
    ),
    "job": _phrases(
        """a customs clerk | a piano tuner | a country doctor | a ship's carpenter | a night porter |
        a schoolmistress | a tax inspector | a court translator | a railway guard |
        a baker's apprentice | a prison chaplain | a bookbinder"""
    ),
    "colours": _phrases(
        """red and white | navy and gold | black and amber | green hoops | sky blue | maroon and silver |
        orange | claret and cream | purple and black | yellow stripes | scarlet and grey |
        emerald and white"""
    ),
    "piece": _phrases(
        """a funeral march | an overture for brass | a cello concerto | a cantata about the sea |
        a symphony in D minor | a suite of folk dances | an oratorio | a ballet score |
        a set of variations | a requiem | a violin rhapsody | a wedding cantata"""
    ),
    "festival": _phrases(
        """the lantern parade | the cheese fair | the regatta of small boats | the kite contest |
        the onion market | the torchlight procession | the sheep auction | the puppet festival |
        the flower show | the accordion competition"""
    ),
    "duration": _phrases(
        """eleven weeks | nine days | fourteen months | three years | twenty-six days | seven months |
        six weeks | five years | nineteen days | two and a half years | forty hours | thirteen weeks |
        eight years | sixteen months"""
    ),
}

#: Sentences beside the point, with names and figures of the kinds that questions ask for.
ASIDES = (
    "an almanac of {year} complains about the price of candles",
    "the summer of {year} was the wettest that anyone in {place} could recall",
    "{person} passed through the district and left an unflattering sketch",
    "the road to {place} was paved much later",
    "rumours that {person} was involved were never confirmed",
    "the inn at {place} charged extra for a room with a stove",
    "a rival scheme by {person} came to nothing",
    "local tradition mentions the year {year}, but without evidence",
    "letters from {place} took about a week to arrive",
    "a pamphlet by {person} on the subject is lost",
    "some {count} pages of notes on the period were destroyed in a cellar",
    "the telegraph office in {place} closed early on Saturdays",
    "prices doubled in {year} and fell again soon after",
    "a lecture on the topic by {person} drew a small audience",
    "the fair of {year} was cancelled at the last moment",
    "opinions on the matter differ to this day",
    "much of what is told about those years is hearsay",
    "the sources contradict one another on smaller points",
    "for a long time the matter was thought to be of no interest",
    "later writers have added little of substance",
)


def parts(table: Sequence[str], split: str) -> list[str]:
    """The items of a table of name parts that belong to ``split``: one in four is for validation."""
    held_out = split == "validation"
    return [item for index, item in enumerate(table) if (index % 4 == 3) == held_out]


class ValueSampler:
    """Draws names and values of a given kind for one split.

    Args:
        split: ``"train"`` or ``"validation"``; chooses the name parts.
        rng: The source of all randomness.
    """

    def __init__(self, split: str, rng: Random) -> None:
        self._rng = rng
        self._first = parts(_FIRST_NAMES, split)
        self._last = parts(_SURNAMES, split)
        self._places = parts(_PLACE_STEMS, split)
        self._rivers = parts(_RIVER_STEMS, split)
        self._emblems = parts(_EMBLEMS, split)
        self._kinds: dict[str, Callable[[], str]] = {
            "person": self._person,
            "place": self._place,
            "river": self._river,
            "company": self._company,
            "novel": self._novel,
            "spacecraft": self._spacecraft,
            "ship": lambda: f"{self._pick(_EPITHETS)} {self._pick(self._emblems)}",
            "bridge": lambda: f"{self._place()} {self._pick(_BRIDGES)}",
            "museum": lambda: f"{self._person()} Museum of {self._pick(_COLLECTIONS)}",
            "expedition": lambda: f"{'-'.join(rng.sample(self._last, 2))} Expedition",
            "orchestra": lambda: f"{self._place()} {self._pick(_ORCHESTRAS).replace('_', ' ')}",
            "club": lambda: f"{self._place()} {self._pick(_CLUBS)}",
            "university": self._university,
            "prize": lambda: f"the {self._pick(self._last)} {self._pick(('Medal', 'Prize', 'Fellowship'))}",
            "newspaper": lambda: f"the {self._place()} {self._pick(('Gazette', 'Courier', 'Examiner'))}",
            "stadium": lambda: f"{self._pick(self._emblems)} {self._pick(('Park', 'Lane', 'Road'))}",
            "hall": lambda: f"{self._pick(self._last)} Hall",
            "year": lambda: str(rng.randint(1790, 1995)),
            "early_year": lambda: str(rng.randint(1790, 1905)),
            "late_year": lambda: str(rng.randint(1906, 1995)),
            "charter_year": lambda: str(rng.randint(1210, 1789)),
            "date": lambda: self._date(1850, 1995),
            "launch_date": lambda: self._date(1962, 1990),
            "silence_date": lambda: self._date(1991, 2019),
            "kilometres": lambda: f"{rng.randint(12, 960)} kilometres",
            "metres": lambda: f"{rng.randint(18, 890)} metres",
            "area": lambda: f"{rng.randint(11, 99)},{rng.randint(0, 9)}00 square kilometres",
            "population": lambda: f"{rng.randint(11, 480)},{rng.randint(0, 9)}00",
            "crowd": lambda: f"{rng.randint(3, 48)},{rng.randint(0, 9)}00",
            "count": lambda: str(rng.randint(14, 780)),
            "money": lambda: f"{rng.randint(2, 89)}.{rng.randint(1, 9)} million crowns",
            "mass": lambda: f"{rng.randint(210, 990)} kilograms",
            "tonnage": lambda: f"{rng.randint(2, 48)},{rng.randint(1, 9)}00 tonnes",
        }

    def draw(self, kind: str) -> str:
        """A random value of ``kind`` (a key of the samplers or of the phrase tables)."""
        if kind in _PHRASES:
            return self._pick(_PHRASES[kind])
        return self._kinds[kind]()

    def _pick(self, items: Sequence[str]) -> str:
        return self._rng.choice(items)

    def _person(self) -> str:
        return f"{self._pick(self._first)} {self._pick(self._last)}"

    def _date(self, first_year: int, last_year: int) -> str:
        return f"{self._rng.randint(1, 28)} {self._pick(_MONTHS)} {self._rng.randint(first_year, last_year)}"

    def _place(self) -> str:
        name = self._pick(self._places) + self._pick(_PLACE_ENDINGS)
        return self._pick(("", "", "", "", "Port ", "Upper ", "New ", "Great ")) + name

    def _river(self) -> str:
        return self._pick(self._rivers) + self._pick(_RIVER_MIDDLES) + self._pick(_RIVER_ENDINGS)

    def _company(self) -> str:
        if self._rng.random() < 0.5:
            return " and ".join(self._rng.sample(self._last, 2))
        return f"{self._pick(self._last)} {self._pick(_SECTORS)}"

    def _novel(self) -> str:
        if self._rng.random() < 0.5:
            return f"The {self._pick(_EPITHETS)} {self._pick(self._emblems)}"
        return f"A {self._pick(self._emblems)} for {self._pick(self._first)}"

    def _spacecraft(self) -> str:
        return f"{self._pick(self._emblems)} {self._pick(('Orbiter', 'Probe', *map(str, range(1, 31))))}"

    def _university(self) -> str:
        place = self._place()
        return self._pick((f"the University of {place}", f"{place} College", f"the {place} Polytechnic"))
