"""Domains of the embedded corpus that are about people and what they do together.

A template's ``{e}`` is the subject, its ``{v}`` the value; alternatives stand on their own lines.
"""

from __future__ import annotations

from trbert_env.data.embedded_schema import Domain, relation

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
        ),
        relation(
            "place",
            """{e} retired to a cottage near {v}
            old age took {e} to {v}
            in later life {e} moved to {v} and kept bees""",
            """Where did {e} settle after giving up work?
            In what town did {e} spend the final years?
            Which place did {e} choose for retirement?""",
        ),
        relation(
            "year",
            """{e} died in {v} after a short illness
            an obituary of {e} appeared in {v}
            {e} was buried in {v}, with few mourners present""",
            """In what year did {e} pass away?
            When did the life of {e} come to an end?
            What was the year of {e}'s death?""",
        ),
        relation(
            "university",
            """{e} took a degree at {v}
            a scholarship allowed {e} to enter {v}
            {e} attended lectures at {v} for four winters""",
            """Which institution educated {e}?
            Where did {e} go to study?
            At what place of learning was {e} a student?""",
        ),
        relation(
            "field",
            """{e} wrote for two decades about {v}
            the reputation of {e} rests on a study of {v}
            {e} devoted most evenings to {v}""",
            """What subject was {e} an expert on?
            What did {e} investigate?
            Which topic made {e} known?""",
        ),
        relation(
            "person",
            """{e} married {v} in a small chapel
            {v} became the spouse of {e}
            the wedding of {e} and {v} was a quiet affair""",
            """Who was {e} wed to?
            What was the name of {e}'s partner in life?
            Whom did {e} take as husband or wife?""",
        ),
        relation(
            "person",
            """{e} started as an assistant to {v}
            {v} supervised the first experiments of {e}
            {e} learned to use a microscope from {v}""",
            """Who taught {e}?
            Which mentor guided {e} at the beginning?
            Under whom did {e} train?""",
        ),
        relation(
            "prize",
            """the academy honoured {e} with {v}
            {e} accepted {v} at a dinner in the town hall
            colleagues were surprised when {v} went to {e}""",
            """Which award did {e} receive?
            What distinction was given to {e}?
            What did {e} win?""",
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

NOVEL = Domain(
    name="novel",
    subject="novel",
    article="",
    references=("the novel", "the book"),
    relations=(
        relation(
            "person",
            """{e} was written by {v}
            {v} finished the manuscript of {e} in a rented room
            {e} is the best-known work of {v}""",
            """Who is the author of {e}?
            Whose pen produced {e}?
            Which writer created {e}?""",
        ),
        relation(
            "year",
            """{e} reached the bookshops in {v}
            the first edition of {e} is dated {v}
            {e} was printed for the first time in {v}""",
            """When was {e} published?
            In which year could readers first buy {e}?
            What is the publication year of {e}?""",
        ),
        relation(
            "place",
            """the plot of {e} unfolds in {v}
            {e} is set in {v}
            every chapter of {e} takes place in {v}""",
            """Where does the story of {e} happen?
            What is the setting of {e}?
            In which town do the events of {e} occur?""",
        ),
        relation(
            "theme",
            """{e} deals with {v}
            at the heart of {e} lies {v}
            critics read {e} as a meditation on {v}""",
            """What is {e} about?
            Which theme runs through {e}?
            What is the main concern of {e}?""",
        ),
        relation(
            "job",
            """the hero of {e} is {v}
            {e} is told in the voice of {v}
            {e} follows {v} through a single winter""",
            """What occupation does the central character of {e} have?
            Who is the protagonist of {e} by profession?
            What does the main figure in {e} do for a living?""",
        ),
        relation(
            "person",
            """{v} turned {e} into a film
            a screen version of {e} was directed by {v}
            {v} bought the film rights to {e} and shot it in black and white""",
            """Who adapted {e} for the cinema?
            Which director made a movie of {e}?
            Who brought {e} to the screen?""",
        ),
        relation(
            "newspaper",
            """{e} ran as a serial in {v}
            extracts from {e} were first seen in {v}
            {v} carried {e} in weekly parts""",
            """Which paper serialised {e}?
            In what periodical did {e} originally appear?
            Where could instalments of {e} be read?""",
        ),
    ),
    fillers=(
        "translations of {e} vary a good deal in quality",
        "{e} has rarely been out of print",
        "a stage version of {e} was planned but abandoned",
        "circulating libraries decided the fate of most fiction",
        "publishers usually paid a fixed sum and kept the rights",
        "reviews were unsigned, and quarrels about them were common",
    ),
)

ORCHESTRA = Domain(
    name="orchestra",
    subject="orchestra",
    article="the ",
    references=("the orchestra", "the ensemble"),
    relations=(
        relation(
            "person",
            """{v} conducts {e}
            {e} plays under the baton of {v}
            {v} has led rehearsals of {e} since the reform""",
            """Who is the conductor of {e}?
            Which musician directs {e}?
            Who stands in front of {e} at concerts?""",
        ),
        relation(
            "hall",
            """{e} gives its concerts in {v}
            {v} is the home of {e}
            subscribers hear {e} in {v}""",
            """In which venue does {e} perform?
            Where does {e} play regularly?
            What building does {e} use for its concerts?""",
        ),
        relation(
            "year",
            """{e} was founded in {v}
            a group of teachers formed {e} in {v}
            {e} grew out of a student club in {v}""",
            """When did {e} come into being?
            In what year was {e} established?
            What is the founding year of {e}?""",
        ),
        relation(
            "count",
            """{e} employs {v} players
            the payroll of {e} lists {v} musicians
            {v} instrumentalists belong to {e}""",
            """How many members does {e} have?
            What is the size of {e}?
            How large is the staff of {e}?""",
        ),
        relation(
            "piece",
            """{e} opened the season with {v}
            the first recording of {e} was {v}
            {e} made its name with {v}""",
            """Which composition is {e} associated with?
            What work did {e} present?
            What kind of music brought attention to {e}?""",
        ),
        relation(
            "person",
            """{v} pays for the instruments of {e}
            {e} survives on gifts from {v}
            the debts of {e} were settled by {v}""",
            """Who supports {e} financially?
            Which patron gives money to {e}?
            Who is the benefactor of {e}?""",
        ),
        relation(
            "place",
            """{e} toured as far as {v}
            the only foreign tour of {e} ended in {v}
            {e} travelled by train to {v} for a gala""",
            """To which town did {e} travel?
            What destination did {e} reach on tour?
            Where did {e} appear as a guest?""",
        ),
    ),
    fillers=(
        "listeners praise the warm sound of {e}",
        "tickets for {e} are sold at the door",
        "the library of {e} holds many handwritten scores",
        "programmes of the day mixed serious works with dances",
        "strings were made of gut and broke often in cold weather",
        "local choirs joined in at Christmas and Easter",
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
        ),
        relation(
            "person",
            """{v} manages {e}
            {e} appointed {v} as coach
            training at {e} is in the hands of {v}""",
            """Who is in charge of the players of {e}?
            Which coach works for {e}?
            Who picks the side at {e}?""",
        ),
        relation(
            "person",
            """{v} scored the most goals for {e}
            the record marksman of {e} is {v}
            nobody found the net more often for {e} than {v}""",
            """Who is the top goalscorer of {e}?
            Which forward holds the scoring record at {e}?
            Who struck most often for {e}?""",
        ),
        relation(
            "year",
            """{e} lifted the cup in {v}
            {v} brought {e} the only trophy so far
            the cup final of {v} was won by {e}""",
            """When were {e} champions?
            In what year did {e} win silverware?
            What year saw the triumph of {e}?""",
        ),
        relation(
            "colours",
            """{e} wear {v}
            the shirts of {e} are {v}
            {e} changed their kit to {v}""",
            """What do the jerseys of {e} look like?
            In which colours do {e} turn out?
            What is the strip of {e}?""",
        ),
        relation(
            "crowd",
            """a crowd of {v} once watched {e}
            the record attendance of {e} is {v}
            {v} spectators saw the derby of {e}""",
            """How many people came to see {e}?
            What is the highest number of onlookers at a game of {e}?
            How big was the largest audience of {e}?""",
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
