"""The DataProtector SDK is pointed at a sandbox as its users do it: by its constructor and nothing else."""

from __future__ import annotations

import json
import secrets
import subprocess
from typing import Any

from protector import FOLDER
from sdk import ANSWER_S, installed, node

from iexec_nb import PrivateKeySigner, Sandbox

SCRIPT = """
import * as ethers from 'ethers';
import { IExecDataProtector } from '@iexec/dataprotector';

const { rpc, key, options, app } = JSON.parse(process.argv[1]);
const provider = new ethers.JsonRpcProvider(rpc, undefined, { cacheTimeout: -1, pollingInterval: 20 });
const { core } = new IExecDataProtector(new ethers.Wallet(key, provider), options);
const made = await core.protectData({ name: 'Ünïcode', data: { email: 'a@b.c', n: { deep: true } } });
const listed = await core.getProtectedData({ owner: made.owner, requiredSchema: { email: ['string', 'number'] } });
const access = await core.grantAccess({ protectedData: made.address, authorizedApp: app, allowBulk: true });
const { bulkRequest } = await core.prepareBulkRequest({ app, bulkAccesses: [access] });
const inspected = await core.inspectBulkRequest({ bulkRequest, detailed: true });
const { address, schema, multiaddr } = made;
console.log(JSON.stringify({ made: { address, schema, multiaddr }, listed, access, inspected }));
"""


def test_the_sdk_lives_in_a_sandbox_with_the_chain_id_of_a_network_that_it_knows() -> None:
    key = secrets.token_bytes(32)
    # The SDK refuses chains for which it has no workerpool of its own.
    with Sandbox(chain_id=421614) as net:
        served = net.serve()
        seller = net.client(signer=PrivateKeySigner(key))
        app = seller.app.deploy(name="reader", multiaddr="docker.io/interop/reader:1").address
        given = {"rpc": served.rpc, "key": f"0x{key.hex()}", "options": served.dataprotector_options(), "app": app}
        done = subprocess.run(
            [node(), "--input-type=module", "-e", SCRIPT, json.dumps(given)],
            cwd=installed(FOLDER),
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answer: dict[str, Any] = json.loads(done.stdout)
        dataset = seller.dataset.show(answer["made"]["address"])
    [listed] = answer["listed"]
    assert listed == {
        "name": "Ünïcode",
        "address": dataset.address.lower(),
        "owner": dataset.owner.lower(),
        "schema": {"email": "string", "n": {"deep": "bool"}},
        "creationTimestamp": listed["creationTimestamp"],
        "multiaddr": dataset.datasetMultiaddr,
    }
    assert answer["made"]["schema"] == listed["schema"]
    assert answer["access"]["apprestrict"] == app.lower()
    counts = {
        name: answer["inspected"][name] for name in ("bulkStatus", "tasksTotalCount", "tasksToCreateCount", "tasks")
    }
    assert counts == {"bulkStatus": "INITIALIZING", "tasksTotalCount": 1, "tasksToCreateCount": 1, "tasks": []}
