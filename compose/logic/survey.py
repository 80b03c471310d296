# What the survey does next, as survey.toml says it without a server. The same function answers over HTTP, XML-RPC and the bus.
NEXT = {"q1": "q2", "q2": "q3", "q3": "thanks"}

def answer(question):
    state, digits = question["state"], question["digits"]
    if state == "":  # the call begins; cached, as the start is the same for everyone
        return ask(["greeting", "menu"], "language") | {"cache": {"for_s": 60, "by": []}}
    if state in ("language", "again"):
        language = {"1": "en", "2": "de"}.get(digits)
        if language:
            return ask(["q1"], "q1", {"set": {"language": language}}, {"tag": language})
        return ask(["menu"], "again") if state == "language" else play("bye")
    if state in NEXT:
        follows, kept = NEXT[state], {"set": {state: digits}}
        if digits == "9":
            return {"do": [kept, {"tag": "opted-out"}, {"optout": {"prompts": ["bye"]}}], "state": "stop"}
        if digits == "0":  # by name: the numbers are the flow's, and a back end cannot have another one dialled
            talk = "talk-" + question["vars"]["language"]
            to = "support-" + question["vars"]["language"]
            return {"do": [kept, {"dial": {"to": to, "ring_s": 20, "talk_s": 600}}], "state": talk}
        if digits not in {"1", "2", "3", "4", "5"}:
            return play("bye", kept)
        return play(follows, kept) if follows == "thanks" else ask([follows], follows, kept)
    if state.startswith("talk-"):
        return play("thanks" if question["status"] == "ANSWER" else "engaged")
    return {"do": [{"goto": "end"}]}  # a state of the flow's own

def ask(prompts, state, *silent):
    return {"do": [*silent, {"gather": {"prompts": prompts, "timeout_s": 8}}], "state": state}

def play(prompt, *silent):
    return {"do": [*silent, {"play": {"prompts": [prompt]}}], "state": prompt}
