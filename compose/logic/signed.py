# Whether a question is Asterism's: its header asterism-signature, over its time and body, with the secret both have.
import hashlib, hmac, time

def is_signed(header, body, secret, now=None, within_s=300):
    parts = dict(part.split("=", 1) for part in (header or "").split(",") if "=" in part)
    at, now = parts.get("t", ""), time.time() if now is None else now
    if not at.isdigit() or abs(now - int(at)) > within_s:
        return False  # an old question that somebody recorded
    expected = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts.get("v1", ""))
