"""Phrases and sentences of the embedded film reviews."""

from __future__ import annotations

from trbert_env.data.embedded.verdicts import Flavour, lines, phrases

FILMS = Flavour(
    name="imdb",
    subject="novel",
    article="",
    phrases={
        "neg": phrases(
            """a bore from start to end | tedious | a small disaster | a waste of two hours | silly and shallow |
            deeply annoying | a complete failure | dreadful | clumsily acted | stupid and cold | a chore |
            hard to sit through | painfully slow | lazy and predictable | badly put together"""
        ),
        "pos": phrases(
            """a joy from start to end | gripping | a small masterpiece | worth every minute | funny and wise |
            deeply moving | a complete success | superb | wonderfully acted | clever and warm | a delight |
            hard to fault | beautifully paced | fresh and surprising | lovingly put together"""
        ),
    },
    plain=lines(
        """in the end I found it {p}
        to me {e} was {p}
        my own verdict is that it was {p}
        I left my seat thinking that it was {p}
        having slept on it, I call it {p}
        I can only say that {e} is {p}
        as far as I am concerned, it is {p}
        if you ask me, {e} was {p}
        from the second half on I thought it {p}
        my impression was that it is {p}"""
    ),
    contrasts=lines(
        """{person} had promised me that it would be {q}, but I found it {p}
        the posters say that it is {q}; I say that it is {p}
        I thought it {p}, whereas my sister thought it {q}
        my sister thought it {q}, whereas I thought it {p}
        it may be {q} to {person}, yet to me it was {p}
        to me it was {p}, even if {person} thought it {q}
        I had feared that {e} would be like the first part, which was {q}, and then it was {p}
        where critics saw something {q}, I saw something that was {p}
        the book is {q}, but this film of it, I must say, is {p}"""
    ),
    denials=lines(
        """I would not call it {q}
        I cannot agree that it was {q}
        nobody will persuade me that {e} is {q}
        I do not share the view that it was {q}
        I expected it to be {q}, and it was nothing of the kind
        to my mind {e} was anything but {q}
        I was wrong to think that it would be {q}
        I never had the feeling that it was {q}"""
    ),
    others=lines(
        """{person} found it {r}
        a critic from {place} wrote that it was {r}
        the couple behind us agreed that it was {r}
        the last film of {person} was {r}
        in {year} I saw a play by {person} that I thought {r}
        the trailer before it was {r}
        on the radio {person} called {e} {r}
        according to the leaflet, it is {r}
        my sister wrote to me that she thought it {r}
        I had been told by {person} that it was {r}
        {person} would not call it {r}
        my neighbour cannot agree that it was {r}
        the book that it is based on is {r}, or so they say
        the short film that was shown first seemed {r} to me
        {person} left the hall muttering that it was {r}
        the paper in {place} had praised or damned it as {r}
        the first film about the same family was {r}"""
    ),
    fillers=lines(
        """{e} was shot near {place} in {year}
        the story begins when {person} inherits a house in {place}
        {person} plays the clerk, and {person} has a small part as the doctor
        the music is by {person}, who also wrote for the stage
        we saw it on a Tuesday, with about {count} people in the hall
        the director, {person}, grew up in {place}
        tickets were sold at a counter next to the cloakroom
        the camera follows a mail coach over a long bridge
        half of the dialogue is in a dialect of the coast
        there is a scene in a bakery, and later one at a railway station
        the titles at the end name {count} people
        a second unit filmed the storm at {place}
        the plot turns on a letter that was posted in {year}
        {person} and {person} had worked together before
        the hall has new seats and a narrow stage
        it is shown at eight, and on Sundays also at three
        the script passed through the hands of {count} writers
        the costumes were lent by a museum in {place}
        one sees a good deal of rain, snow and mud
        the part of the uncle was first offered to {person}
        a dog crosses the screen in the opening scene
        it runs for a little more than two hours
        the last shot shows the harbour of {place} at dawn
        the film was cut again in {year} for television"""
    ),
)
