# What the survey does next. The same function answers over HTTP, XML-RPC and the bus.
def answer(question):
    state, digits = question["state"], question["digits"]
    if state == "":  # the call begins; cached, as the start is the same for everyone
        return ask(["greeting", "menu"], "language") | {"cache": {"for_s": 60}}
    if state == "language":
        language = {"1": "en", "2": "de"}.get(digits)
        if language is None:
            return ask(["menu"], "language")
        return ask(["question"], "score", {"set": {"language": language}}, {"tag": language})
    if state == "score" and digits == "9":
        return {"do": [{"tag": "opted-out"}, {"optout": {"prompts": ["bye"]}}]}
    if state == "score":
        return {"do": [{"set": {"score": digits}}, {"play": {"prompts": ["thanks"]}}], "state": "done"}
    return {"do": [{"goto": "end"}]}  # a state of the flow's own

def ask(prompts, state, *silent):
    return {"do": [*silent, {"gather": {"prompts": prompts}}], "state": state}
