"""Phrases and sentences of the embedded news articles, hyperpartisan (``"true"``) or not."""

from __future__ import annotations

from trbert_env.data.embedded.verdicts import Flavour, lines, phrases

PARTISAN = Flavour(
    name="hyperpartisan_news_detection",
    subject="place",
    article="",
    phrases={
        "false": phrases(
            """a compromise between several views | one of three options under review | within the usual rules |
            still open to amendment | a matter of some debate | based on last year's report |
            comparable to that of other towns | subject to a public hearing | supported by some and opposed by others |
            much like the one before it | due for a vote in the spring | costed in the annex"""
        ),
        "true": phrases(
            """a betrayal of honest people | one of their shameless lies | a gift to the crooks in office |
            an attack on our way of life | the work of traitors | pure poison for the nation |
            typical of that corrupt gang | a plot against the common man | forced on us by arrogant elites |
            nothing but organised theft | an outrage beyond words | the madness of fanatics"""
        ),
    },
    plain=lines(
        """the plan for {place} is {p}
        the budget of {e} is, in short, {p}
        what the council of {e} proposes is {p}
        readers should know that the new law is {p}
        the reform, as it stands, is {p}
        the decision taken in {e} on Monday is {p}
        it is worth stating that the scheme is {p}
        the fact remains that the tax is {p}
        in this newspaper's view, the draft is {p}"""
    ),
    contrasts=lines(
        """{person} calls the plan {q}, but in fact it is {p}
        the plan is {p}, although {person} calls it {q}
        to {person} the reform is {q}; in reality it is {p}
        the reform is in reality {p}, and not, as {person} says, {q}
        the first draft was {q}, while the law as passed is {p}
        the law as passed is {p}, while the first draft was {q}
        rumour had it that the budget would be {q}; it turned out to be {p}"""
    ),
    denials=lines(
        """nobody should believe that the plan is {q}
        it is wrong to say that the budget of {e} is {q}
        the reform is anything but {q}
        contrary to what {person} says, the law is not {q}
        there is no truth in the claim that the scheme is {q}
        the tax may be many things, but it is not {q}"""
    ),
    others=lines(
        """{person} called the plan {r}
        in the words of {person}, the budget is {r}
        a caller from {place} said on the radio that the reform is {r}
        a letter to the editor describes the law as {r}
        "the scheme is {r}", said {person}
        according to a leaflet that was handed out, the tax is {r}
        {person} denied that the plan is {r}
        {person} told the meeting that nobody should believe that the tax is {r}
        the banner of one group read that the draft is {r}
        in {year} a pamphlet by {person} called a similar law {r}
        opponents in {place} say that their own budget is {r}
        the play that is on in {place} tells of a law that is {r}
        a blog in {place} claims that the reform is {r}
        a speaker from the back row shouted that the decision is {r}"""
    ),
    fillers=lines(
        """the council of {e} met on Monday evening in the old school
        about {count} people came to the hearing
        {person} chairs the committee, and {person} keeps the minutes
        the draft has {count} pages and two annexes
        the last election in {e} was held in {year}
        the road from {e} to {place} was closed for an hour
        a decision of the regional court is expected in the autumn
        the building that is to be sold dates from {year}
        {person} has represented the district since {year}
        minutes of the meeting can be read in the library
        the next meeting is on the second Tuesday of the month
        the office in {place} did not answer two calls
        coffee was served in the corridor
        the mayor, {person}, was away in {place}
        a working group will look at the figures again
        the item was the fourth on the agenda
        the treasurer read out a table of {count} lines
        the local paper has appeared twice a week since {year}
        a bus from {place} brought some of the guests
        the vote was taken by a show of hands
        the session ended shortly before eleven
        the secretary corrected two names in the list
        the rain kept some members at home
        the region has {count} parishes and one hospital"""
    ),
)
