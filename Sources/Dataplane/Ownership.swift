package import Kernel
package import NFT

/// How the kernel's table compares with what it should be.
package struct Verification: Sendable, Hashable {
  /// What differs, a sentence each, at most `differencesMax`; empty: nothing does.
  package var differences: [String]
  /// All of them.
  package var count: Int
  package static let differencesMax = 100

  package var isIntact: Bool { count == 0 }

  package init(differences: [String] = [], count: Int = 0) {
    self.differences = differences
    self.count = count
  }
}

/// Something that happened to our table from outside.
package struct OwnershipEvent: Sendable, Hashable {
  /// What was found changed, and mended.
  package var verification: Verification
  /// Why it could not be mended; it is tried again.
  package var failure: String?
  /// The program that did it, where the kernel says so: "nft (4711)".
  package var culprit: String?
}

/// The table as the kernel has it, for people: read by any process with CAP_NET_ADMIN, whoever owns it.
package struct DataplaneDump: Sendable {
  /// In nft's language.
  package var text: String
  package var table: Table
  /// The chains with their rules, each in nft's language.
  package var chains: [(name: String, entry: String?, rules: [String])] {
    table.chains.map { ($0.name, $0.base.map(\.text), $0.rules.map(\.text)) }
  }
  package var services: [Service]
  /// What cannot be the work of the owner: chains that are not ours, slots that are missing.
  package var verification: Verification

  /// One address, protocol and port, as its elements say.
  package struct Service: Sendable, Hashable {
    package var key: ServiceEntry.Key
    /// "round-robin", "random", "hash", "refused", "dropped".
    package var balance: String
    package var affinitySeconds: Int?
    package var endpoints: [ServiceEndpoint]
    /// For senders outside, where they have their own.
    package var outside: [ServiceEndpoint]?
    package var sourceRanges: [IPPrefix]?
    /// What its elements lack, a sentence each.
    var missing: [String] = []
  }
}
