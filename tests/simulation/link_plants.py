"""Bugs of the rules of links that their simulation must catch, written as plants.py says."""

from __future__ import annotations

from .plants import bug, step

PLANTS = (
    # which endpoint
    bug("a turn stays at the endpoint", "turn", "endpoints_turn(&l.endpoints)", "0"),
    bug("a name is never tried as IPv6", "endpoints_turn", "not e.six and e.address == NULL", "0"),
    step(
        "the addresses of a name are never tried",
        "endpoints_turn",
        "e.address = endpoint_address(e)",
    ),
    bug(
        "a broker that refuses is not left",
        "link_refused",
        "for_good and not l.reopen and has_others(l)",
        "0",
    ),
    bug(
        "a broker that let us in and refuses is left at once",
        "link_refused",
        "now - l.life.broken_at >= REFUSED_NS",
        "1",
    ),
    bug(
        "a broker that let us in and refuses is left for its silence only",
        "link_refused",
        "now - l.life.broken_at >= REFUSED_NS",
        "0",
    ),
    bug(
        "a failed handshake begins the second of refusals anew",
        "link_disconnected",
        "now if l.up else l.life.broken_at",
        "now",
        "int64_t",
    ),
    bug(
        "a broker that turns us away is not left",
        "link_disconnected",
        "before and brief and has_others(l)",
        "0",
    ),
    # storms
    step(
        "the next endpoint is opened at once",
        "reopen",
        "rest(l, l.life.opened_at + TURN_PAUSE_NS)",
        "rest(l, now)",
    ),
    bug(
        "a broker that drains is asked again at once",
        "link_bye",
        "max(now + link_jitter(l, away), l.life.opened_at + TURN_PAUSE_NS)",
        "now + link_jitter(l, away)",
        "int64_t",
    ),
    step(
        "a closed link that is forgotten opens before its rest is over",
        "link_forgotten",
        "lose(l, reason)",
        "lose(l, reason); l.resting_until = 0",
    ),
    bug(
        "a greeting follows each BYE 0 at once",
        "link_forgotten",
        "max(now, l.greeted_at + TURN_PAUSE_NS)",
        "now",
        "int64_t",
    ),
    bug(
        "a greeting that was lost is not repeated",
        "link_greets",
        "FAR if l.welcomed else now + link_jitter(l, GREETING_NS)",
        "FAR",
        "int64_t",
    ),
    bug(
        "greetings follow each other at once",
        "link_greets",
        "now + link_jitter(l, GREETING_NS)",
        "now + 1",
        "int64_t",
    ),
    # silence and heartbeats
    bug("silence is not seen", "link_tick", "now - l.heard_at >= l.rates.silence", "0"),
    step(
        "nothing wakes a link after its rest",
        "link_next_due",
        "return l.resting_until",
        "return FAR",
    ),
    bug("a pause of our own counts as silence", "link_wake", "l.woke_at and pause > 0", "0"),
    step("what the broker sends does not end its silence", "link_packet", "l.heard_at = now"),
    bug(
        "a worker judges silence by its own rates",
        "link_welcome",
        "heartbeat * min(max(record.liveness, 1), WELCOME_LIVENESS_MAX)",
        "l.rates.silence",
        "int64_t",
    ),
    bug(
        "a client sends heartbeats only when it was quiet itself",
        "link_next_beat",
        "l.said_at if l.rates.follows else l.heard_at",
        "l.said_at",
        "int64_t",
    ),
    bug(
        "a worker sends heartbeats only when it heard nothing",
        "link_next_beat",
        "l.said_at if l.rates.follows else l.heard_at",
        "l.heard_at",
        "int64_t",
    ),
    bug(
        "the heartbeat of the broker does not count",
        "link_welcome",
        "min(l.rates.own_heartbeat, heartbeat)",
        "l.rates.own_heartbeat",
        "int64_t",
    ),
    # the handshake
    bug("a new connection goes unnoticed", "link_connected", "l.life.handshakes > 1", "0"),
    step("stale packets go before the greeting", "link_connected", "act(l, LINK_DROP, NULL)"),
    bug("a late WELCOME of a broken connection counts", "link_welcome", "l.greeted_at == 0", "0"),
    bug("BYE 0 is no reason to greet", "link_bye", "code == BYE_UNKNOWN", "0"),
    step(
        "the packet limit of the first broker holds for all",
        "link_welcome",
        "l.limits.packet_bytes_max = max(1, record.packet_bytes_max)",
    ),
    bug(
        "packets exceed the limit",
        "limits_allow",
        "bytes + size <= limits.packet_bytes_max",
        "1",
    ),
    # home
    bug(
        "the preferred endpoint is never looked at",
        "home_welcomed",
        "now + link_jitter(l, h.wait)",
        "FAR",
        "int64_t",
    ),
    bug("a link looks though it is at home", "home_welcomed", "l.endpoints.at == 0", "0"),
    step(
        "the looks of an earlier time count",
        "home_welcomed",
        "h.went = h.looks = h.served = 0",
        "h.went = h.looks = 0",
    ),
    bug(
        "a link goes home after one look",
        "link_wants_home",
        "l.home.served >= HOME_LOOKS",
        "l.home.served >= 1",
    ),
    # what is logged
    bug("what is brief is found twice", "link_welcome", "not l.brief", "1"),
    bug(
        "a broker that stays after a brief one is never found",
        "link_tick",
        "l.brief and l.welcomed and now - l.welcomed_at >= BRIEF_NS",
        "0",
    ),
    # the door
    bug(
        "a denied link opens again after the pause of a turn",
        "link_denied",
        "max(now + denied_rest(l), l.life.opened_at + TURN_PAUSE_NS)",
        "l.life.opened_at + TURN_PAUSE_NS",
        "int64_t",
    ),
    bug(
        "the rest after denials does not grow",
        "denied_rest",
        "min(rounds - 1, <uint32_t>DENIED_DOUBLINGS)",
        "0",
        "uint32_t",
    ),
    bug(
        "the rest after denials has no end",
        "denied_rest",
        "min(ns, <int64_t>DENIED_REST_MAX_MS * MS)",
        "ns",
        "int64_t",
    ),
    step("denials of long ago count", "link_denied", "l.door.denials = l.door.verdicts = 0"),
    step("a denied link stays with its endpoint", "link_denied", "endpoints_next(&l.endpoints)"),
    bug(
        "handshakes that fail without a reason are no denial",
        "link_failed",
        "has_key and endpoint.failures >= most and endpoint.roomy >= ROOMY_MIN",
        "0",
    ),
    bug(
        "a broker that may be full is taken for one with another key",
        "link_failed",
        "endpoint.roomy >= ROOMY_MIN",
        "1",
    ),
    step(
        "a look that finds room says nothing",
        "link_looked",
        "l.endpoints.all[endpoint].roomy += 1",
    ),
    bug(
        "an endpoint that wants the other mechanism is tried like any other",
        "link_failed",
        "endpoint.foreign",
        "0",
    ),
    bug(
        "a look at one endpoint denies another",
        "link_looked",
        "endpoint == l.endpoints.at",
        "1",
    ),
    bug("no link is barred", "link_denied", "l.door.verdicts >= l.endpoints.count", "0", "uint8_t"),
    bug(
        "one denial bars a link",
        "link_denied",
        "l.door.verdicts >= l.endpoints.count",
        "1",
        "uint8_t",
    ),
    bug(
        '"not now" bars a link',
        "link_denied",
        "0 if denial == DENIED_NOW else l.door.verdicts + 1",
        "l.door.verdicts + 1",
        "uint32_t",
    ),
    step("a link that is welcomed stays barred", "link_welcome", "admit(l)"),
)
