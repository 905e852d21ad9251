"""Domains of the embedded corpus that are about books, music and collections.

A template's ``{e}`` is the subject, its ``{v}`` the value; alternatives stand on their own lines.
"""

from __future__ import annotations

from trbert_env.data.embedded.schema import Domain, relation

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
            "author",
        ),
        relation(
            "year",
            """{e} reached the bookshops in {v}
            the first edition of {e} is dated {v}
            {e} was printed for the first time in {v}""",
            """When was {e} published?
            In which year could readers first buy {e}?
            What is the publication year of {e}?""",
            "year of publication",
        ),
        relation(
            "place",
            """the plot of {e} unfolds in {v}
            {e} is set in {v}
            every chapter of {e} takes place in {v}""",
            """Where does the story of {e} happen?
            What is the setting of {e}?
            In which town do the events of {e} occur?""",
            "setting",
        ),
        relation(
            "theme",
            """{e} deals with {v}
            at the heart of {e} lies {v}
            critics read {e} as a meditation on {v}""",
            """What is {e} about?
            Which theme runs through {e}?
            What is the main concern of {e}?""",
            "theme",
        ),
        relation(
            "job",
            """the hero of {e} is {v}
            {e} is told in the voice of {v}
            {e} follows {v} through a single winter""",
            """What occupation does the central character of {e} have?
            Who is the protagonist of {e} by profession?
            What does the main figure in {e} do for a living?""",
            "occupation of the hero",
        ),
        relation(
            "person",
            """{v} turned {e} into a film
            a screen version of {e} was directed by {v}
            {v} bought the film rights to {e} and shot it in black and white""",
            """Who adapted {e} for the cinema?
            Which director made a movie of {e}?
            Who brought {e} to the screen?""",
            "film director",
        ),
        relation(
            "newspaper",
            """{e} ran as a serial in {v}
            extracts from {e} were first seen in {v}
            {v} carried {e} in weekly parts""",
            """Which paper serialised {e}?
            In what periodical did {e} originally appear?
            Where could instalments of {e} be read?""",
            "newspaper",
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
            "conductor",
        ),
        relation(
            "hall",
            """{e} gives its concerts in {v}
            {v} is the home of {e}
            subscribers hear {e} in {v}""",
            """In which venue does {e} perform?
            Where does {e} play regularly?
            What building does {e} use for its concerts?""",
            "concert hall",
        ),
        relation(
            "year",
            """{e} was founded in {v}
            a group of teachers formed {e} in {v}
            {e} grew out of a student club in {v}""",
            """When did {e} come into being?
            In what year was {e} established?
            What is the founding year of {e}?""",
            "year of foundation",
        ),
        relation(
            "count",
            """{e} employs {v} players
            the payroll of {e} lists {v} musicians
            {v} instrumentalists belong to {e}""",
            """How many members does {e} have?
            What is the size of {e}?
            How large is the staff of {e}?""",
            "number of players",
        ),
        relation(
            "piece",
            """{e} opened the season with {v}
            the first recording of {e} was {v}
            {e} made its name with {v}""",
            """Which composition is {e} associated with?
            What work did {e} present?
            What kind of music brought attention to {e}?""",
            "signature piece",
        ),
        relation(
            "person",
            """{v} pays for the instruments of {e}
            {e} survives on gifts from {v}
            the debts of {e} were settled by {v}""",
            """Who supports {e} financially?
            Which patron gives money to {e}?
            Who is the benefactor of {e}?""",
            "patron",
        ),
        relation(
            "place",
            """{e} toured as far as {v}
            the only foreign tour of {e} ended in {v}
            {e} travelled by train to {v} for a gala""",
            """To which town did {e} travel?
            What destination did {e} reach on tour?
            Where did {e} appear as a guest?""",
            "tour destination",
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

MUSEUM = Domain(
    name="museum",
    subject="museum",
    article="the ",
    references=("the museum", "the institution"),
    relations=(
        relation(
            "place",
            """{e} stands in {v}
            travellers find {e} in {v}
            the galleries of {e} overlook the harbour of {v}""",
            """In which town is {e} located?
            Where is {e}?
            What is the location of {e}?""",
            "location",
        ),
        relation(
            "gift",
            """the pride of {e} is {v}
            {e} displays {v}
            crowds come to {e} to look at {v}""",
            """Which object is the highlight of {e}?
            What can be seen at {e}?
            What is the most famous exhibit of {e}?""",
            "main exhibit",
        ),
        relation(
            "person",
            """{v} directs {e}
            {e} has been run by {v} for a decade
            the trustees of {e} chose {v} as head""",
            """Who is in charge of {e}?
            Which curator leads {e}?
            Who is the director of {e}?""",
            "director",
        ),
        relation(
            "person",
            """{e} began with a bequest from {v}
            {v} left a fortune to found {e}
            the collection of {e} was started by {v}""",
            """Whose legacy made {e} possible?
            Who established {e}?
            Which collector stands behind the origin of {e}?""",
            "founder",
        ),
        relation(
            "population",
            """{e} welcomes {v} visitors a year
            annual admissions at {e} have climbed to {v}
            {v} tickets to {e} were sold last season""",
            """How many people go to {e}?
            What is the attendance of {e}?
            How many guests does {e} attract?""",
            "number of visitors",
        ),
        relation(
            "year",
            """{e} was robbed in {v}
            thieves broke into {e} in {v}
            in {v} several cases at {e} were emptied overnight""",
            """When was there a burglary at {e}?
            In which year did {e} suffer a theft?
            What was the year of the break-in at {e}?""",
            "year of the robbery",
        ),
        relation(
            "year",
            """{e} moved to its present building in {v}
            a new wing was added to {e} in {v}
            {e} was enlarged in {v}""",
            """When did {e} gain more space?
            In what year was {e} extended or relocated?
            What was the year of the expansion of {e}?""",
            "year of enlargement",
        ),
    ),
    fillers=(
        "the café of {e} is popular with students",
        "guided walks through {e} last about an hour",
        "{e} lends objects to schools",
        "labels are printed in three languages",
        "many storerooms are kept cool and dark",
        "admission is free on the first Sunday of the month",
    ),
)
