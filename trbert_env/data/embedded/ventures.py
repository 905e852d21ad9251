"""Domains of the embedded corpus that are about companies and machines.

A template's ``{e}`` is the subject, its ``{v}`` the value; alternatives stand on their own lines.
"""

from __future__ import annotations

from trbert_env.data.embedded.schema import Domain, relation

COMPANY = Domain(
    name="company",
    subject="company",
    article="",
    references=("the company", "the firm"),
    relations=(
        relation(
            "person",
            """{e} was set up by {v}
            {v} started {e} with borrowed money
            {e} began in the workshop of {v}""",
            """Who founded {e}?
            Which entrepreneur created {e}?
            Who was behind the beginnings of {e}?""",
            "founder",
        ),
        relation(
            "person",
            """{v} now runs {e}
            the board of {e} elected {v} as chair
            day-to-day business at {e} is led by {v}""",
            """Who is the chief executive of {e}?
            Who heads {e}?
            Which manager is at the top of {e}?""",
            "head",
        ),
        relation(
            "early_year",
            """{e} opened for business in {v}
            {e} was entered in the trade register in {v}
            the first invoice of {e} dates from {v}""",
            """When was {e} founded?
            In which year did {e} come into existence?
            What is the founding year of {e}?""",
            "opening year",
        ),
        relation(
            "late_year",
            """{e} went bankrupt in {v}
            creditors closed {e} in {v}
            the gates of {e} shut for good in {v}""",
            """When did {e} fail?
            In which year did {e} cease trading?
            What year marked the end of {e}?""",
            "closing year",
        ),
        relation(
            "product",
            """{e} makes {v}
            the catalogue of {e} is devoted to {v}
            {e} earned its reputation with {v}""",
            """What goods does {e} manufacture?
            Which articles are sold by {e}?
            What is {e} known for producing?""",
            "product",
        ),
        relation(
            "place",
            """{e} has its headquarters in {v}
            the offices of {e} are in {v}
            {e} is based in {v}""",
            """In which town is {e} located?
            Where is the main office of {e}?
            From where is {e} run?""",
            "home town",
        ),
        relation(
            "count",
            """{e} employs {v} people
            {v} workers are on the payroll of {e}
            the workforce of {e} numbers {v}""",
            """How many staff does {e} have?
            What is the headcount of {e}?
            How many people work for {e}?""",
            "workforce",
        ),
        relation(
            "cause",
            """production at {e} stopped because of {v}
            {v} brought {e} to a standstill
            {e} lost its best customers after {v}""",
            """What caused problems at {e}?
            Why did {e} run into difficulty?
            What disrupted {e}?""",
        ),
    ),
    fillers=(
        "{e} printed its own calendar every autumn",
        "former apprentices of {e} still meet once a year",
        "advertisements for {e} hung in many stations",
        "exports in the sector rose and fell with the tariffs",
        "orders were taken by travelling agents with sample cases",
        "the yards were linked by a narrow tramway",
    ),
)

SPACECRAFT = Domain(
    name="spacecraft",
    subject="spacecraft",
    article="",
    references=("the spacecraft", "the craft"),
    relations=(
        relation(
            "launch_date",
            """{e} was launched on {v}
            a rocket carried {e} into orbit on {v}
            {e} left the ground on {v}""",
            """When did {e} take off?
            On what day did the flight of {e} begin?
            What is the launch date of {e}?""",
            "launch date",
        ),
        relation(
            "silence_date",
            """contact with {e} was lost on {v}
            the last signal of {e} arrived on {v}
            {e} fell silent on {v}""",
            """When did {e} stop transmitting?
            On what day was {e} heard from for the last time?
            What date marks the end of communication with {e}?""",
            "date of the last signal",
        ),
        relation(
            "target",
            """{e} studied {v}
            {e} was sent to examine {v}
            the data of {e} concern {v}""",
            """What did {e} observe?
            What was the scientific objective of {e}?
            Which phenomenon was explored by {e}?""",
            "object of study",
        ),
        relation(
            "tool",
            """{e} carried {v}
            engineers fitted {e} with {v}
            the main instrument of {e} was {v}""",
            """What equipment was on board {e}?
            Which device did {e} have?
            With what did {e} take measurements?""",
            "main instrument",
        ),
        relation(
            "mass",
            """{e} weighed {v}
            at lift-off {e} had a mass of {v}
            fully fuelled, {e} came to {v}""",
            """How heavy was {e}?
            What was the weight of {e}?
            How much did the scales show for {e}?""",
            "mass",
        ),
        relation(
            "place",
            """{e} was controlled from {v}
            the ground station of {e} was in {v}
            commands to {e} were sent from {v}""",
            """Where was the control room of {e}?
            From which town was {e} operated?
            What place hosted the controllers of {e}?""",
            "control centre",
        ),
        relation(
            "person",
            """{v} proposed {e}
            the idea for {e} came from {v}
            {e} was the brainchild of {v}""",
            """Who suggested building {e}?
            Which scientist conceived {e}?
            Who thought up {e}?""",
            "initiator",
        ),
        relation(
            "money",
            """{e} cost {v}
            the agency paid {v} for {e}
            the budget of {e} was capped at {v}""",
            """How much money was spent on {e}?
            What was the price of {e}?
            How expensive was {e}?""",
        ),
    ),
    fillers=(
        "a model of {e} hangs in the visitor centre",
        "schoolchildren followed {e} on a large wall chart",
        "{e} was tested in a vacuum chamber before shipping",
        "engineers worked in shifts around the clock",
        "solar panels of that generation lost power quickly",
        "spare parts were stored for years in case of a second flight",
    ),
)

SHIP = Domain(
    name="ship",
    subject="ship",
    article="the ",
    references=("the ship", "the vessel"),
    relations=(
        relation(
            "place",
            """{e} was built in {v}
            a yard in {v} laid the keel of {e}
            {e} slid down a slipway in {v}""",
            """Where was {e} constructed?
            Which town produced {e}?
            In what place did {e} take shape?""",
            "building place",
        ),
        relation(
            "place",
            """{e} was registered in {v}
            the home port of {e} was {v}
            {e} sailed under the flag of {v}""",
            """Where did {e} belong?
            Which harbour was the base of {e}?
            To what port was {e} assigned?""",
            "home port",
        ),
        relation(
            "person",
            """{v} was captain of {e}
            {e} sailed with {v} in command
            the master of {e} was {v}""",
            """Who was the skipper of {e}?
            Which officer commanded {e}?
            Who steered the fortunes of {e} at sea?""",
            "captain",
        ),
        relation(
            "person",
            """{v} owned {e}
            {e} belonged to {v}
            {v} bought {e} at an auction""",
            """Who was the proprietor of {e}?
            In whose possession was {e}?
            Which merchant did {e} belong to?""",
            "owner",
        ),
        relation(
            "cargo",
            """{e} was loaded with {v}
            the hold of {e} was full of {v}
            {e} traded in {v}""",
            """What freight did {e} carry?
            Which goods were on board {e}?
            What did {e} transport?""",
            "cargo",
        ),
        relation(
            "tonnage",
            """{e} displaced {v}
            {e} was rated at {v}
            the papers of {e} give its size as {v}""",
            """How large was {e}?
            What was the tonnage of {e}?
            How heavy was {e}?""",
            "tonnage",
        ),
        relation(
            "date",
            """{e} sank on {v}
            {e} went down in a gale on {v}
            the wreck of {e} occurred on {v}""",
            """When was {e} lost?
            On what day did {e} founder?
            What is the date of the loss of {e}?""",
            "date of loss",
        ),
    ),
    fillers=(
        "a bell from {e} is kept in a village church",
        "sailors considered {e} a dry and steady boat",
        "the figurehead of {e} was repainted many times",
        "rations at sea were biscuit, beans and salted meat",
        "harbour pilots were paid by the depth of the hull",
        "fog signals along the coast were fired by hand",
    ),
)
