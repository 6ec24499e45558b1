package import Kernel
package import Logging

package struct DataplaneConfiguration: Sendable {
  /// Sources in these keep their address on the way to an endpoint; others, unless they are the node itself, are masqueraded.
  package var podCIDRs: [IPPrefix]

  package init(podCIDRs: [IPPrefix]) { self.podCIDRs = podCIDRs }
}

/// The Service load balancer: owner of nftables table `inet martlet` in the network namespace of the thread that made it.
///
/// Needs CAP_NET_ADMIN there. One netlink transaction per call: a call that throws has changed nothing.
package actor Dataplane {
  /// What one `apply` sent.
  package struct Applied: Sendable, Equatable {
    /// Netlink messages in the batch, without its begin and end; 0: nothing had changed.
    package var messages: Int
    package var addedElements: Int
    package var removedElements: Int
  }

  /// - Throws: `DataplaneError` where the netlink sockets cannot be opened.
  package init(configuration: DataplaneConfiguration, logger: Logger) throws(DataplaneError) { fatalError() }

  /// Makes the kernel's table be `desired`, by sending the difference to what was applied last.
  package func apply(_ desired: ServiceTable) async throws(DataplaneError) -> Applied { fatalError() }

  /// Forgets what was applied last: the next `apply` replaces the whole table in one transaction, without a gap.
  package func adopt() async throws(DataplaneError) {}

  /// Deletes the table; a missing one is fine.
  package func flush() async throws(DataplaneError) {}
}

package struct DataplaneError: Error, Sendable, CustomStringConvertible {
  /// "apply services", "flush", "delete stale UDP flows".
  package var stage: String
  /// "add element inet martlet services4 { 10.96.0.1 . tcp . 80 : … }: ENOENT (2)".
  package var detail: String

  package var description: String { "\(stage): \(detail)" }
}
