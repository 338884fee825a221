# SPDX-License-Identifier: MIT
"""Many apps at once: listed in pages, found by tenant, state and label, removed together."""

import json
import threading

import echo
import pytest
from host import RpcError, wait_for

MANY = 600


def quiet(n, **keys):
    """An app that nobody wakes."""
    return {"name": f"quiet{n:04}", "tenant": f"t{n % 3}", "image": "host", "command": ["/bin/true"], "ports": [{"port": 80}],
            "labels": {"plan": "free" if n % 2 else "gold"}, **keys}


def apply(host, *apps):
    return host.apply(json.dumps({"apps": apps}))


@pytest.fixture(scope="module")
def full(shared_host):
    """With many apps, one of which is awake."""
    apply(shared_host, *(quiet(n) for n in range(MANY)), echo.app("awake", tenant="t0", labels={"plan": "gold", "who": "me"}))
    shared_host.niwa("wake", "awake")
    return shared_host


def names(rows):
    return [row["name"] for row in rows]


def test_every_app_is_in_one_page_in_the_order_of_the_names(full):
    page = full.rpc("app.list")
    assert len(page["apps"]) == 200 and page["next"] == page["apps"][-1]["name"]
    assert names(full.rows()) == ["awake"] + [f"quiet{n:04}" for n in range(MANY)]
    assert names(full.rows(limit=7)) == names(full.rows())
    assert names(full.rpc("app.list", after="quiet0597x")["apps"]) == ["quiet0598", "quiet0599"]
    assert full.rpc("app.list", after="z") == {"apps": []}


def test_filters_are_those_of_the_engine(full):
    assert names(full.rows(tenant="t1")) == [f"quiet{n:04}" for n in range(1, MANY, 3)]
    assert names(full.rows(label="plan=free")) == [f"quiet{n:04}" for n in range(1, MANY, 2)]
    assert names(full.rows(label="who")) == names(full.rows(state="running")) == ["awake"]
    assert names(full.rows(label="plan=gold", tenant="t0", match="*1?")) == [
        f"quiet{n:04}" for n in range(0, MANY, 6) if n // 10 % 10 == 1]
    assert full.rows(label="plan=silver") == full.rows(tenant="nobody") == []
    assert full.rows(match="awake")[0]["labels"] == {"plan": "gold", "who": "me"}
    assert full.niwa("ls", "-q", "--label", "who=me", "--state", "running", "--name", "a*").stdout == "awake\n"


def test_apps_that_come_and_go_meanwhile_hide_no_other(full):
    """A walk over all pages, while apps between those that stay are put and taken."""
    stay = ["awake"] + [f"quiet{n:04}" for n in range(MANY)]
    going = True

    def churn():
        while going:
            apply(full, *(quiet(n, name=f"quiet{n:04}-more") for n in range(0, MANY, 3)))
            full.niwa("rm", "--yes", *(f"quiet{n:04}-more" for n in range(0, MANY, 3)))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            seen = names(full.rows(limit=50))
            assert seen == sorted(seen) and [name for name in seen if name in set(stay)] == stay
    finally:
        going = False
        thread.join()
    assert names(full.rows()) == stay


def test_a_change_of_labels_leaves_the_instance_as_it_is(full):
    pid = full.pid("awake")
    apply(full, echo.app("awake", tenant="t0", labels={"who": "you"}))
    assert full.rows(match="awake")[0]["labels"] == {"who": "you"}
    apply(full, echo.app("awake", tenant="t0", labels={}))
    assert "labels" not in full.rows(match="awake")[0]
    assert full.pid("awake") == pid and len(full.show("awake")["instances"]) == 1
    apply(full, echo.app("awake", tenant="t0", labels={"plan": "gold", "who": "me"}))


def test_labels_are_there_again_after_a_restart_of_niwad(full):
    full.kill_niwad()
    full.start_niwad()
    assert names(full.rows(label="plan=gold", tenant="t0"))[:2] == ["awake", "quiet0000"]


def test_all_of_a_tenant_go_together_also_what_is_awake(full):
    apply(full, echo.app("second", tenant="t1"))
    full.niwa("wake", "second")
    done = full.niwa("rm", "--tenant", "t1", check=False)
    assert done.returncode == 1 and "201 apps would be removed; say --yes" in done.stderr and len(full.rows()) == MANY + 2
    assert full.niwa("rm", "--yes", "--tenant", "t1").stdout == "removed 201\n"
    assert {row["tenant"] for row in full.rows()} == {"t0", "t2"}
    wait_for("its instance has ended", lambda: len(full.kernel_objects()["groups"]) == 1)
    assert full.niwa("rm", "--yes", "--label", "plan=free").stdout == "removed 200\n"
    assert names(full.rows()) == ["awake"] + [f"quiet{n:04}" for n in range(0, MANY, 2) if n % 3 != 1]
    with pytest.raises(RpcError):
        full.show("second")


def test_of_two_large_applies_that_want_the_same_domains_and_folders_one_gets_them(full, tmp_path):
    """Both are looked at in pieces, at the same time."""
    count, outcomes = 1500, {}

    def put(side):
        rpc = full.connect()
        txn = rpc.call("apply.begin")["txn"]
        order = range(count) if side == "left" else range(count - 1, -1, -1)
        for first in range(0, count, 100):
            rpc.call("apply.put", txn=txn, apps=[
                quiet(n, name=f"{side}{n:04}", routes=[{"domain": f"d{n}.example"}],
                      volumes=[{"from": str(tmp_path / str(n)), "to": "/srv"}]) for n in order[first:first + 100]])
        return rpc, txn

    def commit(side, rpc, txn):
        try:
            outcomes[side] = rpc.call("apply.commit", txn=txn)["added"]
        except RpcError as error:
            outcomes[side] = str(error)

    for round_ in range(3):
        outcomes.clear()
        threads = [threading.Thread(target=commit, args=(side, *put(side))) for side in ("left", "right")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [side for side, outcome in outcomes.items() if outcome == count]
        (loser,) = set(outcomes) - {winner}
        assert "leads to app" in outcomes[loser] or "is written to by app" in outcomes[loser], outcomes
        assert len(full.rows(match="left*")) + len(full.rows(match="right*")) == count
        # nothing of the one that was refused is in the way
        full.niwa("rm", "-q", "--yes", *names(full.rows(match=f"{winner}*")))
        commit(loser, *put(loser))
        assert outcomes[loser] == count
        full.niwa("rm", "-q", "--yes", *names(full.rows(match=f"{loser}*")))
