// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.19;

// A group of addresses that an order may name where it restricts who takes part (ERC-734): the hub asks it whether an
// app, a workerpool or a requester has purpose 4, which is "member". Who is in it is said once, by its deployer.

contract Whitelist {
    uint256 private constant MEMBER = 4;

    mapping(bytes32 => bool) private members;

    constructor(address[] memory addresses) {
        for (uint256 i = 0; i < addresses.length; i++) {
            members[bytes32(uint256(uint160(addresses[i])))] = true;
        }
    }

    function keyHasPurpose(bytes32 key, uint256 purpose) external view returns (bool) {
        return purpose == MEMBER && members[key];
    }
}
