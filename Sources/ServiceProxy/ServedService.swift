package import Dataplane
internal import Kernel
package import KubeModel

/// A Service of an API server with its EndpointSlices, as entries of the Service table. Pure.
package struct ServedService: Hashable, Sendable {
  package var entries: [ServiceEntry] = []
  /// What of the Service is not done, by field; the rest of it works.
  package var problems: [String] = []

  /// - Parameters:
  ///   - slices: those that name the Service; order does not matter.
  ///   - nodeName: this node, for Services that stay on it.
  ///   - withdrawn: uids of pods that stop here: out, whatever a slice still says.
  package init(_ service: Service, slices: [EndpointSlice], nodeName: String, withdrawn: Set<String> = []) {
    let spec = service.spec
    guard spec.type != "ExternalName", spec.clusterIP != "None" else { return }
    refuseWhatIsNotDone(spec)
    let named = spec.clusterIPs.isEmpty ? [spec.clusterIP ?? ""] : spec.clusterIPs
    let addresses = named.filter { !$0.isEmpty && $0 != "None" }.compactMap { text -> IPAddress? in
      guard let address = IPAddress(text), !address.isUnspecified, !address.isLoopback else {
        problems.append("spec.clusterIPs: \"\(text)\" cannot be a Service's address")
        return nil
      }
      return address
    }
    var balance: ServiceEntry.Balance =
      service.metadata.annotations[ServicePlan.balanceAnnotation] == "hash" ? .hash : .roundRobin
    // A client keeps its endpoint as long as their number stays, which is as long as a hash can promise.
    if spec.sessionAffinity == "ClientIP" { balance = .hash }
    let onlyHere = spec.internalTrafficPolicy == "Local" ? nodeName : nil
    for port in spec.ports {
      let transport = port.`protocol` ?? "TCP"
      guard transport == "TCP" || transport == "UDP", let number = UInt16(exactly: port.port), number > 0 else {
        problems.append("spec.ports: \(transport) port \(port.port) is not supported, only TCP and UDP")
        continue
      }
      let name = port.name ?? ""
      let all = Self.endpoints(slices, name, transport, onlyHere, withdrawn)
      for address in addresses {
        entries.append(
          ServiceEntry(
            id: ServicePlan.key(service) + (name.isEmpty ? "" : ":\(name)"), address: address,
            transport: transport == "UDP" ? .udp : .tcp, port: number, balance: balance,
            endpoints: all.filter { $0.address.family == address.family }))
      }
    }
  }

  private mutating func refuseWhatIsNotDone(_ spec: ServiceSpec) {
    if let type = spec.type, type != "ClusterIP" {
      problems.append("spec.type: \(type) is served on its cluster address only, not on ports of the node")
    }
    if !spec.externalIPs.isEmpty { problems.append("spec.externalIPs: not served") }
  }

  /// The ready endpoints of one port; where there is none, those that stop and still serve.
  private static func endpoints(
    _ slices: [EndpointSlice], _ name: String, _ transport: String, _ onlyHere: String?, _ withdrawn: Set<String>
  ) -> [ServiceEndpoint] {
    var ready: Set<ServiceEndpoint> = []
    var stopping: Set<ServiceEndpoint> = []
    for slice in slices where slice.addressType != "FQDN" {
      let port = slice.ports.first { ($0.name ?? "") == name && ($0.`protocol` ?? "TCP") == transport }
      guard let number = port?.port.flatMap({ UInt16(exactly: $0) }), number > 0 else { continue }
      for endpoint in slice.endpoints {
        if let onlyHere, endpoint.nodeName != onlyHere { continue }
        if let uid = endpoint.targetRef?.uid, withdrawn.contains(uid) { continue }
        let isReady = endpoint.conditions.ready != false
        let serves = endpoint.conditions.serving ?? isReady
        guard isReady || (serves && endpoint.conditions.terminating == true) else { continue }
        for address in endpoint.addresses.compactMap({ IPAddress($0) }) {
          let target = ServiceEndpoint(address: address, port: number)
          if isReady { ready.insert(target) } else { stopping.insert(target) }
        }
      }
    }
    return (ready.isEmpty ? stopping : ready).sorted()
  }
}

extension EndpointSlice {
  /// The label by which a slice belongs to a Service.
  package static let serviceLabel = "kubernetes.io/service-name"

  package var serviceName: String? { metadata.labels[Self.serviceLabel] }
}
