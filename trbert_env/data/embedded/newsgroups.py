"""Phrases and sentences of the embedded posts to twenty newsgroups."""

from __future__ import annotations

from trbert_env.data.embedded.verdicts import Flavour, lines, phrases

NEWSGROUPS = Flavour(
    name="20_newsgroups",
    subject="place",
    article="",
    phrases={
        "alt.atheism": phrases(
            "living without any god | the burden of proof for gods | morality without religion | losing one's faith"
        ),
        "comp.graphics": phrases(
            "ray tracing | converting GIF images | polygon shading | drawing smooth curves on screen"
        ),
        "comp.os.ms-windows.misc": phrases(
            "the Windows program manager | the swap file of Windows | Windows 3.1 crashing | fonts in Windows"
        ),
        "comp.sys.ibm.pc.hardware": phrases(
            "an IDE controller | jumpers on a PC motherboard | a 486 with a local bus card | SCSI drives in a PC"
        ),
        "comp.sys.mac.hardware": phrases(
            "a Quadra with more memory | the Apple monitor adapter | a Macintosh power supply | PowerBook batteries"
        ),
        "comp.windows.x": phrases("Motif widgets | the X server | an xterm resource file | writing an Xlib client"),
        "misc.forsale": phrases(
            "selling a used sofa | my asking price with shipping | the best offer for a stereo | things for sale"
        ),
        "rec.autos": phrases(
            "a car with a worn clutch | the brakes of a sedan | engine oil for cars | minivan mileage"
        ),
        "rec.motorcycles": phrases(
            "a motorcycle helmet | countersteering on a bike | a Harley's exhaust | riding with a passenger"
        ),
        "rec.sport.baseball": phrases(
            "the batting average of a shortstop | a left-handed pitcher | stolen bases | home runs this season"
        ),
        "rec.sport.hockey": phrases(
            "the goalie's save rate | the power play in hockey | the Stanley Cup | penalty minutes on the ice"
        ),
        "sci.crypt": phrases(
            "public key encryption | the Clipper chip | breaking a cipher | the length of secret keys"
        ),
        "sci.electronics": phrases(
            "a voltage regulator | soldering a circuit board | an op-amp filter | resistors and capacitors"
        ),
        "sci.med": phrases(
            "the side effects of a drug | a chronic infection | treating migraine | blood pressure in patients"
        ),
        "sci.space": phrases(
            "the orbit of a satellite | a mission to the Moon | launch costs of rockets | the space shuttle"
        ),
        "soc.religion.christian": phrases(
            "the letters of Paul | prayer in church | the resurrection of Christ | the meaning of baptism"
        ),
        "talk.politics.guns": phrases(
            "the right to bear arms | a handgun ban | concealed weapons | waiting periods for firearms"
        ),
        "talk.politics.mideast": phrases(
            "the border of Israel | refugees in Lebanon | peace talks with the Arab states | the Turkish claims"
        ),
        "talk.politics.misc": phrases(
            "the federal deficit | health care taxes | the President's economic plan | drug laws in Congress"
        ),
        "talk.religion.misc": phrases(
            "cults and their leaders | reincarnation | ancient pagan rites | the prophecies of a sect"
        ),
    },
    plain=lines(
        """can anybody tell me more about {p}?
        my question is about {p}
        I am writing to the group about {p}
        what I would like to discuss is {p}
        I need some advice on {p}
        the matter that I bring up here is {p}
        does anyone in the group know about {p}?
        let me begin a thread about {p}
        the subject of this post is {p}"""
    ),
    contrasts=lines(
        """this post is about {p}, and not about {q}
        unlike {person}, who asked about {q}, I ask about {p}
        I ask about {p}, unlike {person}, who asked about {q}
        leaving {q} to other groups, I turn to {p}
        I turn to {p} here and leave {q} to other groups"""
    ),
    denials=(),
    others=lines(
        """{person} never writes about anything but {r}
        in another group {person} has asked about {r}
        please do not turn this into an argument about {r}
        last month I read a book about {r}
        my neighbour in {place} gave a talk about {r}
        this has nothing to do with {r}
        the last thread that I followed was about {r}
        sorry if you were looking for something about {r}
        {person}, who is mad about {r}, reads over my shoulder
        the mailing list at {place} is for {r}
        I shall not say a word about {r}
        a colleague confused it with {r}
        my old posts from {year} were about {r}"""
    ),
    fillers=lines(
        """I have been reading this group from {e} since {year}
        replies by mail are welcome, and I shall post a summary
        {person} wrote something like that some time ago
        my news server drops about {count} articles a day
        sorry for the long lines, my editor wraps them oddly
        I asked {person} in {place}, who did not know either
        the list of common questions does not say anything on this
        I have a meeting at noon and shall read the answers tonight
        please trim what you quote
        the library in {place} was closed
        I am new here, so be gentle
        the opinions above are mine and not those of my employer
        thanks in advance to everybody
        I shall be away until Monday
        it took me {count} minutes to write this
        there was a longer version, but the line went dead
        {person} and I share this account
        write to me at the address below
        I looked through the archive as far as {year}
        if this has come up before, just point me to it
        follow-ups are set to this group
        somebody at {place} must have an answer
        I have kept copies of all {count} posts
        my terminal shows only {count} characters"""
    ),
)
