"""Domains of the embedded corpus that are about places and what is built there.

A template's ``{e}`` is the subject, its ``{v}`` the value; alternatives stand on their own lines.
"""

from __future__ import annotations

from trbert_env.data.embedded.schema import Domain, relation

RIVER = Domain(
    name="river",
    subject="river",
    article="the ",
    references=("the river", "the stream"),
    relations=(
        relation(
            "place",
            """{e} rises in the hills above {v}
            a spring outside {v} feeds {e}
            the headwaters of {e} gather near {v}""",
            """Where is the source of {e}?
            Near which town does {e} begin?
            What place lies at the start of {e}?""",
            "source",
        ),
        relation(
            "place",
            """{e} reaches the sea at {v}
            the estuary of {e} opens beside {v}
            {e} finally meets the tide at {v}""",
            """Where is the mouth of {e}?
            Near which town does {e} end?
            At what place does {e} flow out?""",
            "mouth",
        ),
        relation(
            "kilometres",
            """{e} runs for {v}
            surveyors put {e} at {v} from end to end
            {e} winds through {v} of farmland""",
            """How long is {e}?
            What is the length of {e}?
            What distance does {e} cover?""",
            "length",
        ),
        relation(
            "area",
            """{e} drains {v}
            rain from {v} finds its way into {e}
            the catchment of {e} takes in {v}""",
            """How large is the basin of {e}?
            What is the extent of the land that feeds {e}?
            How big an area does {e} collect water from?""",
            "catchment area",
        ),
        relation(
            "year",
            """{e} burst its banks in {v}
            the worst flood of {e} came in {v}
            {e} swept away four mills in {v}""",
            """When did {e} overflow?
            In what year did high water on {e} cause damage?
            What was the year of the great inundation of {e}?""",
            "flood year",
        ),
        relation(
            "animal",
            """{e} is a refuge for {v}
            {v} has returned to {e}
            naturalists visit {e} to see {v}""",
            """Which creature lives in or along {e}?
            What wildlife is {e} known for?
            Which species can be found at {e}?""",
            "typical animal",
        ),
        relation(
            "person",
            """{v} drew the first chart of {e}
            {e} was mapped by {v}
            the course of {e} was measured by {v}""",
            """Who surveyed {e}?
            Which cartographer recorded {e}?
            Whose work put {e} on the map?""",
            "first surveyor",
        ),
    ),
    fillers=(
        "in dry summers children cross {e} on foot",
        "{e} appears in several local songs",
        "anglers speak well of {e} in spring",
        "the valley floor is a patchwork of meadows and hedges",
        "mist often hangs over the water until noon",
        "old ferry landings are now used by rowing clubs",
    ),
)

CITY = Domain(
    name="city",
    subject="place",
    article="",
    references=("the town", "the settlement"),
    relations=(
        relation(
            "population",
            """{e} has {v} inhabitants
            the last census counted {v} people in {e}
            {v} residents call {e} home""",
            """What is the population of {e}?
            How many citizens does {e} have?
            How many people live in {e}?""",
            "population",
        ),
        relation(
            "person",
            """the mayor of {e} is {v}
            voters in {e} put {v} at the head of the council
            {v} presides over the town hall of {e}""",
            """Who governs {e}?
            Which politician runs {e}?
            Who holds the highest office in {e}?""",
            "mayor",
        ),
        relation(
            "person",
            """{e} was laid out by {v}
            the street plan of {e} is the work of {v}
            {v} designed the central squares of {e}""",
            """Who planned {e}?
            Which architect shaped {e}?
            Whose design does {e} follow?""",
            "planner",
        ),
        relation(
            "crop",
            """farmers around {e} live from {v}
            {e} grew rich on {v}
            the fields of {e} are given over to {v}""",
            """What is cultivated near {e}?
            Which produce supports {e}?
            What do growers at {e} harvest?""",
            "main crop",
        ),
        relation(
            "festival",
            """every summer {e} holds {v}
            visitors come to {e} for {v}
            {v} fills the streets of {e}""",
            """Which event takes place in {e}?
            What annual celebration is {e} known for?
            What attracts guests to {e}?""",
            "summer festival",
        ),
        relation(
            "charter_year",
            """{e} received its charter in {v}
            town rights were granted to {e} in {v}
            {e} has been a borough since {v}""",
            """When did {e} officially become a town?
            In which year was {e} incorporated?
            What year gave {e} its legal status?""",
            "charter year",
        ),
        relation(
            "year",
            """the railway reached {e} in {v}
            trains have called at {e} since {v}
            {e} got its station in {v}""",
            """When was {e} connected to the rail network?
            In what year did the first locomotive arrive in {e}?
            Since when can one travel to {e} by train?""",
            "railway year",
        ),
        relation(
            "metres",
            """{e} lies {v} above sea level
            the market square of {e} stands at {v}
            {e} sits on a terrace at a height of {v}""",
            """What is the elevation of {e}?
            How high up is {e}?
            At what altitude was {e} built?""",
            "altitude",
        ),
    ),
    fillers=(
        "the side streets of {e} are narrow and steep",
        "painters have long been fond of {e}",
        "a small archive in {e} opens twice a week",
        "most houses in the district have tiled roofs and green shutters",
        "buses stop running shortly after nine in the evening",
        "the weekly market is held even in heavy rain",
    ),
)

BRIDGE = Domain(
    name="bridge",
    subject="bridge",
    article="the ",
    references=("the structure", "the crossing"),
    relations=(
        relation(
            "person",
            """{v} designed {e}
            the drawings for {e} were made by {v}
            {e} is the work of {v}""",
            """Who was the engineer of {e}?
            Who planned {e}?
            Whose design is {e}?""",
            "designer",
        ),
        relation(
            "metres",
            """{e} spans {v}
            {e} measures {v} between its towers
            from bank to bank {e} stretches {v}""",
            """How long is {e}?
            What is the length of {e}?
            What distance does {e} bridge?""",
            "span",
        ),
        relation(
            "material",
            """{e} is built of {v}
            the builders of {e} settled on {v}
            {v} was used for the arches of {e}""",
            """What is {e} made of?
            Which substance was {e} constructed from?
            What building material was chosen for {e}?""",
            "building material",
        ),
        relation(
            "date",
            """{e} was opened on {v}
            the ribbon at {e} was cut on {v}
            traffic began to use {e} on {v}""",
            """When did {e} enter service?
            On what day was {e} inaugurated?
            What is the opening date of {e}?""",
            "opening date",
        ),
        relation(
            "river",
            """{e} crosses the {v}
            beneath {e} flows the {v}
            {e} carries the road over the {v}""",
            """Which river passes under {e}?
            What body of water does {e} lead across?
            Over what waterway was {e} erected?""",
            "river",
        ),
        relation(
            "money",
            """{e} cost {v}
            the council spent {v} on {e}
            the final bill for {e} came to {v}""",
            """How expensive was {e}?
            What was the price of {e}?
            How much was paid for {e}?""",
        ),
        relation(
            "cause",
            """work on {e} was delayed by {v}
            {v} interrupted the building of {e}
            {e} stood half finished because of {v}""",
            """Why was {e} late?
            What held up construction of {e}?
            What was the reason for the setback at {e}?""",
        ),
    ),
    fillers=(
        "{e} is lit with warm lamps at night",
        "photographers like the view of {e} at dawn",
        "{e} is inspected every other spring",
        "tolls were collected in a small stone hut",
        "heavy wagons had to wait for the wind to drop",
        "swallows nest under many of the older arches",
    ),
)
