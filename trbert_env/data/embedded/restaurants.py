"""Phrases and sentences of the embedded restaurant reviews, with one to five stars."""

from __future__ import annotations

from trbert_env.data.embedded.verdicts import Flavour, lines, phrases

STARS = Flavour(
    name="yelp_review_full",
    subject="ship",
    article="the ",
    phrases={
        "1 star": phrases(
            """the worst that one can get | inedible | dreadful in every way | an insult to any guest |
            simply disgusting | fit for the bin | atrocious | a disgrace"""
        ),
        "2 stars": phrases(
            """rather poor | disappointing | below what the price promises | on the bland side |
            somewhat careless | weaker than expected | a bit of a let-down | mostly lukewarm"""
        ),
        "3 stars": phrases(
            """neither good nor bad | average | all right, no more | middling | nothing out of the ordinary |
            acceptable | so-so | passable"""
        ),
        "4 stars": phrases(
            """good with small flaws | really rather nice | better than most | tasty | very decent |
            well made | quite lovely | nearly excellent"""
        ),
        "5 stars": phrases(
            """perfect | the best that one can get | flawless | out of this world | heavenly |
            superb in every way | magnificent | beyond all praise"""
        ),
    },
    plain=lines(
        """in the end we found the food {p}
        to me {e} was {p}
        my own verdict is that the meal was {p}
        I went home thinking that it was {p}
        all in all, I call this place {p}
        I can only say that {e} is {p}
        as far as I am concerned, our dinner was {p}
        if you ask me, {e} is {p}
        the plates that we were served were {p}
        my impression was that the kitchen is {p}"""
    ),
    contrasts=lines(
        """{person} had promised me that it would be {q}, but we found it {p}
        the guide says that it is {q}; I say that it is {p}
        I thought the food {p}, whereas my aunt thought it {q}
        my aunt thought the food {q}, whereas I thought it {p}
        it may be {q} to {person}, yet to me it was {p}
        to me it was {p}, even if {person} called it {q}
        the inn across the road is {q}, but {e} is {p}
        under the former owner it was {q}, and now it is {p}
        this place is {p}, while its sister in {place} is {q}"""
    ),
    denials=(),
    others=lines(
        """{person} found the food {r}
        a guide printed in {place} wrote that it was {r}
        the couple at the next table agreed that it was {r}
        the other house of {person} is {r}
        in {year} I had a lunch in {place} that was {r}
        the bakery next door is {r}
        on the radio {person} called {e} {r}
        according to the leaflet, it is {r}
        my aunt wrote to me that she thought it {r}
        I had been told by {person} that it was {r}
        under the former owner it was {r}
        the tea room that we tried the day before seemed {r} to me
        {person} left the room muttering that it was {r}
        the paper in {place} used to say that it was {r}
        the canteen at my office is {r}"""
    ),
    fillers=lines(
        """{e} is in a lane behind the market of {place}
        the house was built in {year} as a school
        {person} cooks, and {person} looks after the guests
        we came on a Tuesday, and about {count} people were there
        the owner, {person}, grew up in {place}
        there is a coat rack next to the door
        the menu has two pages and a list of wines
        half of the tables stand in a yard with a chestnut tree
        we ordered soup, fish and a plum tart
        a band from {place} plays on the first Friday of the month
        the bus to {place} stops across the road
        the kitchen closes at ten, and on Sundays at nine
        they take cards as well as cash
        the walls are hung with maps of the coast
        a shelf holds some {count} bottles
        the vegetables come from a farm near {place}
        we sat by the window and watched the rain
        the place has changed hands twice since {year}
        a large party arrived at about eight
        parking is in the street, or behind the church
        the chairs are of dark wood
        {person} paid for the drinks, and I paid for the rest
        the card is written by hand every morning
        upstairs there is a room for weddings"""
    ),
)
