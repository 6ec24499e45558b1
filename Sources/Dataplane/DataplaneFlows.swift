internal import Kernel
internal import Logging
internal import NFT

/// What connections and clients remember of endpoints that are gone.
extension Dataplane {
  func forgetFlows(of state: ServiceState) -> ConntrackTable.Deletion {
    var families: Set<IPAddress.Family> = []
    for (key, entry) in state.services where key.transport == .udp { families.insert(entry.address.family) }
    if families.isEmpty { return ConntrackTable.Deletion() }
    let isStale = { (flow: TranslatedFlow) -> Bool in
      let key = ServiceEntry.Key(address: flow.virtualAddress, transport: .udp, port: flow.virtualPort)
      guard let entry = state.resolved(key) else { return false }
      let endpoint = ServiceEndpoint(address: flow.endpoint, port: flow.endpointPort)
      return !entry.endpoints.contains(endpoint) && entry.outside?.contains(endpoint) != true
    }
    return delete { () throws(SyscallError) in
      try connections.deleteUDP(families: families.sorted(), where: isStale)
    } ?? ConntrackTable.Deletion()
  }

  /// After the table has changed, so that no packet in between brings a flow back.
  func forget(_ flows: Set<TranslatedFlow>) -> ConntrackTable.Deletion {
    let wanted = staleFlows.union(flows)
    staleFlows = []
    if wanted.isEmpty { return ConntrackTable.Deletion() }
    let deletion = delete { () throws(SyscallError) in try connections.deleteUDP(wanted) }
    if deletion == nil && wanted.count <= Self.staleFlowsMax { staleFlows = wanted }
    return deletion ?? ConntrackTable.Deletion()
  }

  /// Nil where the kernel would not: traffic of new flows is right all the same, so that is a warning.
  private func delete(_ body: () throws(SyscallError) -> ConntrackTable.Deletion) -> ConntrackTable.Deletion? {
    do throws(SyscallError) {
      return try body()
    } catch {
      logger.warning("delete stale UDP flows: \(error); tried again with the next change of a UDP service")
      return nil
    }
  }

  /// Clients whose endpoint is gone: the rules pass over what remembers them already, but should the endpoint come back
  /// it would be theirs again. Linear in the clients that are remembered.
  func forgetClients(_ lost: [AddressFamily: Set<Words>]) {
    let groups = [Lane.Group.inside, .outside]
    for (family, group, tags) in lost.flatMap({ family, tags in groups.map { (family, $0, tags) } }) {
      let set = ServiceLayout.sticky(family, group)
      do throws(SyscallError) {
        let listed = try transactions.elements(table: ServiceLayout.tableName, set: set.name)
        for client in listed.map({ Element($0, in: set) }) {
          guard case .data(let tag) = client.value,
            tags.contains(Words(listed: Array(client.key.bytes.dropFirst(family.addressBytes)) + tag.bytes))
          else { continue }
          // One by one: any of them may time out at this moment, and that would undo the others.
          _ = try? transactions.run(
            Program.encode([.deleteElements(table: ServiceLayout.tableName, set, [Element(client.key)])]))
        }
      } catch {
        logger.warning("forget clients of vanished endpoints: \(error); they time out by themselves")
      }
    }
  }
}
