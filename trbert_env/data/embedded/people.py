"""Domains of the embedded corpus that are about people and what they do together.

A template's ``{e}`` is the subject, its ``{v}`` the value; alternatives stand on their own lines.
"""

from __future__ import annotations

from trbert_env.data.embedded.schema import Domain, relation

SCIENTIST = Domain(
    name="scientist",
    subject="person",
    article="",
    references=("the researcher", "the scholar"),
    relations=(
        relation(
            "place",
            """{e} was born in {v}
            a parish register in {v} records the baptism of {e}
            {e} came from a family of weavers in {v}""",
            """What is the birthplace of {e}?
            In which town did the life of {e} begin?
            Where was {e} originally from?""",
            "birthplace",
        ),
        relation(
            "place",
            """{e} retired to a cottage near {v}
            old age took {e} to {v}
            in later life {e} moved to {v} and kept bees""",
            """Where did {e} settle after giving up work?
            In what town did {e} spend the final years?
            Which place did {e} choose for retirement?""",
            "retirement home",
        ),
        relation(
            "year",
            """{e} died in {v} after a short illness
            an obituary of {e} appeared in {v}
            {e} was buried in {v}, with few mourners present""",
            """In what year did {e} pass away?
            When did the life of {e} come to an end?
            What was the year of {e}'s death?""",
            "year of death",
        ),
        relation(
            "university",
            """{e} took a degree at {v}
            a scholarship allowed {e} to enter {v}
            {e} attended lectures at {v} for four winters""",
            """Which institution educated {e}?
            Where did {e} go to study?
            At what place of learning was {e} a student?""",
            "university",
        ),
        relation(
            "field",
            """{e} wrote for two decades about {v}
            the reputation of {e} rests on a study of {v}
            {e} devoted most evenings to {v}""",
            """What subject was {e} an expert on?
            What did {e} investigate?
            Which topic made {e} known?""",
            "field of study",
        ),
        relation(
            "person",
            """{e} married {v} in a small chapel
            {v} became the spouse of {e}
            the wedding of {e} and {v} was a quiet affair""",
            """Who was {e} wed to?
            What was the name of {e}'s partner in life?
            Whom did {e} take as husband or wife?""",
            "spouse",
        ),
        relation(
            "person",
            """{e} started as an assistant to {v}
            {v} supervised the first experiments of {e}
            {e} learned to use a microscope from {v}""",
            """Who taught {e}?
            Which mentor guided {e} at the beginning?
            Under whom did {e} train?""",
            "mentor",
        ),
        relation(
            "prize",
            """the academy honoured {e} with {v}
            {e} accepted {v} at a dinner in the town hall
            colleagues were surprised when {v} went to {e}""",
            """Which award did {e} receive?
            What distinction was given to {e}?
            What did {e} win?""",
            "award",
        ),
    ),
    fillers=(
        "several letters of {e} are kept in a private archive",
        "{e} is remembered as a patient and rather formal person",
        "no portrait of {e} is known to exist",
        "scientific societies of the time met in the back rooms of taverns",
        "laboratory glass was expensive, and many instruments were shared",
        "journals of the period often took a year to print a paper",
    ),
)

CLUB = Domain(
    name="club",
    subject="club",
    article="",
    references=("the club", "the team"),
    relations=(
        relation(
            "stadium",
            """{e} play at {v}
            {v} has been the ground of {e} for generations
            supporters of {e} gather at {v}""",
            """What is the name of the stadium of {e}?
            Where do {e} host their matches?
            Which ground belongs to {e}?""",
            "stadium",
        ),
        relation(
            "person",
            """{v} manages {e}
            {e} appointed {v} as coach
            training at {e} is in the hands of {v}""",
            """Who is in charge of the players of {e}?
            Which coach works for {e}?
            Who picks the side at {e}?""",
            "coach",
        ),
        relation(
            "person",
            """{v} scored the most goals for {e}
            the record marksman of {e} is {v}
            nobody found the net more often for {e} than {v}""",
            """Who is the top goalscorer of {e}?
            Which forward holds the scoring record at {e}?
            Who struck most often for {e}?""",
            "top goalscorer",
        ),
        relation(
            "year",
            """{e} lifted the cup in {v}
            {v} brought {e} the only trophy so far
            the cup final of {v} was won by {e}""",
            """When were {e} champions?
            In what year did {e} win silverware?
            What year saw the triumph of {e}?""",
            "cup year",
        ),
        relation(
            "colours",
            """{e} wear {v}
            the shirts of {e} are {v}
            {e} changed their kit to {v}""",
            """What do the jerseys of {e} look like?
            In which colours do {e} turn out?
            What is the strip of {e}?""",
            "kit",
        ),
        relation(
            "crowd",
            """a crowd of {v} once watched {e}
            the record attendance of {e} is {v}
            {v} spectators saw the derby of {e}""",
            """How many people came to see {e}?
            What is the highest number of onlookers at a game of {e}?
            How big was the largest audience of {e}?""",
            "record attendance",
        ),
        relation(
            "cause",
            """{e} nearly folded because of {v}
            {v} forced {e} to drop out of the league
            {e} lost a whole season to {v}""",
            """What got {e} into trouble?
            Why did {e} face a crisis?
            What was to blame for the difficulties of {e}?""",
        ),
    ),
    fillers=(
        "the fans of {e} are known for their drums",
        "{e} run a youth side and a veterans' side",
        "the badge of {e} has been redrawn more than once",
        "matches were often called off when the pitch was under water",
        "players held ordinary jobs and trained in the evening",
        "away games meant long journeys in unheated coaches",
    ),
)

EXPEDITION = Domain(
    name="expedition",
    subject="expedition",
    article="the ",
    references=("the expedition", "the party"),
    relations=(
        relation(
            "person",
            """{v} commanded {e}
            {e} was under the orders of {v}
            {v} took charge of {e} at short notice""",
            """Who led {e}?
            Who was the leader of {e}?
            Which explorer was at the head of {e}?""",
            "leader",
        ),
        relation(
            "person",
            """{v} kept the diary of {e}
            the sketches of {e} were made by {v}
            {v} joined {e} as naturalist""",
            """Who documented {e}?
            Which observer recorded the findings of {e}?
            Whose notes describe {e}?""",
            "diarist",
        ),
        relation(
            "place",
            """{e} set out from {v}
            {e} left the quay at {v} in fine weather
            porters for {e} were hired in {v}""",
            """Where did {e} start?
            What was the point of departure of {e}?
            From which town did {e} begin its journey?""",
            "starting point",
        ),
        relation(
            "date",
            """{e} returned on {v}
            the survivors of {e} came home on {v}
            {e} was back in harbour on {v}""",
            """When did {e} get back?
            On what day was {e} over?
            What was the date of the homecoming of {e}?""",
            "date of return",
        ),
        relation(
            "goal",
            """{e} was looking for {v}
            the sponsors of {e} hoped to find {v}
            the purpose of {e} was to locate {v}""",
            """What did {e} search for?
            What was the aim of {e}?
            Which discovery was expected of {e}?""",
            "goal",
        ),
        relation(
            "vehicle",
            """{e} travelled with {v}
            {e} relied on {v} to move its stores
            the equipment of {e} was carried by {v}""",
            """What means of transport did {e} use?
            How did {e} get around?
            By what was the baggage of {e} moved?""",
            "means of transport",
        ),
        relation(
            "duration",
            """{e} lasted {v}
            {e} spent {v} in the field
            supplies kept {e} going for {v}""",
            """How long did {e} take?
            For what length of time was {e} away?
            What was the duration of {e}?""",
            "duration",
        ),
        relation(
            "money",
            """{e} cost {v}
            backers put {v} into {e}
            the accounts of {e} add up to {v}""",
            """How much was spent on {e}?
            What was the budget of {e}?
            How expensive was {e}?""",
        ),
    ),
    fillers=(
        "the members of {e} quarrelled over tea and tobacco",
        "few photographs of {e} have survived",
        "newspapers followed {e} with interest",
        "tents were made of oiled cotton and weighed a great deal",
        "frostbite was treated with warm broth and rest",
        "maps of the interior were blank in many parts",
    ),
)
