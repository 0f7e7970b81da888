// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.19;

// Stands in the sandbox for iExec's DataProtector, whose bytecode is in no package. It has the interface that
// @iexec/dataprotector 2 publishes and does what that interface promises: it registers a dataset for an owner and
// announces the schema of what is in it, in one transaction.

interface IDatasetRegistry {
    function createDataset(address owner, string calldata name, bytes calldata multiaddr, bytes32 checksum)
        external
        returns (address);
}

contract DataProtector {
    event DatasetSchema(address indexed dataset, string schema);

    IDatasetRegistry public immutable registry;

    constructor(IDatasetRegistry datasets) {
        registry = datasets;
    }

    function createDatasetWithSchema(
        address owner,
        string calldata name,
        string calldata schema,
        bytes calldata multiaddr,
        bytes32 checksum
    ) external returns (address dataset) {
        dataset = registry.createDataset(owner, name, multiaddr, checksum);
        emit DatasetSchema(dataset, schema);
    }
}
