package import Kernel
internal import NFT

extension PodNetwork {
  /// Takes away what a node keeps between two runs of the daemon: its own link pair with the routes on it, the ways to
  /// other nodes, and the table of pod rules. For a node that shall leave nothing; nothing there is fine.
  ///
  /// Not while a daemon runs here: it would miss both.
  /// - Throws: `SyscallError` of netlink. Takes as long as the kernel needs to delete a link: milliseconds.
  /// - Requires: CAP_NET_ADMIN in the node's network namespace, which is the calling process's.
  package static func removeNode() async throws(SyscallError) {
    try await onFreshThread { () throws(SyscallError) in
      let socket = try RouteSocket()
      try ClusterRouting.remove(socket)
      try socket.run([.deleteLink(name: nodeLink)], tolerating: [Errno.noDevice])
      try run(Table.deleting(PodRules.tableName), NftTransactions())
    }
  }
}
