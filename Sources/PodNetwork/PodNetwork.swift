package import Logging

/// Pod network namespaces, links, addresses and routes of one node, and nftables table `inet martlet-pods`.
///
/// Acts in the network namespace of the process. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
/// Pods with the host's network never come here.
package actor PodNetwork {
  /// - Parameter runDirectory: namespaces are pinned in `netns`, records lie in `network` below it.
  package init(runDirectory: String, configuration: PodNetworkConfiguration, logger: Logger) {}

  /// Adopts the networks of `known` sandboxes, takes down all others, and fills the pool. Call once, before `attach`.
  package func start(known: Set<String>) async throws(PodNetworkError) -> PodNetworkRecovery { fatalError() }

  /// Gives the pod a namespace with addresses. Again for the same pod: the same answer.
  package func attach(_ sandboxID: String, hostPorts: [HostPort] = []) async throws(PodNetworkError) -> PodAddresses {
    fatalError()
  }

  /// Takes link, addresses, routes, rules and namespace away; a pod that has none is fine. Repeat after an error.
  package func detach(_ sandboxID: String) async throws(PodNetworkError) {}

  /// What `attach` gave and `detach` has not taken yet.
  package func addresses(of sandboxID: String) -> PodAddresses? { nil }

  /// Drops the pool; pods keep their network.
  package func stop() async {}
}
