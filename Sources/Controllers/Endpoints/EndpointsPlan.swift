package import KubeModel

/// What a Service's pods offer, in the one object of older clients.
package enum EndpointsPlan {
  /// Addresses of one object; more are left out, and an annotation says so.
  package static let addressesMax = 1000
  package static let overCapacity = "endpoints.kubernetes.io/over-capacity"
  package static let managerLabel = "endpoints.kubernetes.io/managed-by"

  package static func endpoints(for service: Service, pods: [Pod], existing: Endpoints?) -> Endpoints {
    var wanted = existing ?? Endpoints()
    wanted.metadata.name = service.metadata.name
    wanted.metadata.namespace = service.metadata.namespace
    wanted.metadata.labels = service.metadata.labels
    wanted.metadata.labels[managerLabel] = "endpoint-controller"
    if service.spec.clusterIP == "None" { wanted.metadata.labels[EndpointSlicePlan.headlessLabel] = "" }
    let family = ServiceEndpoints.addressTypes(of: service).first ?? "IPv4"
    let groups = ServiceEndpoints(of: service, pods: pods, addressType: family, zones: [:]).groups
    var left = addressesMax
    wanted.subsets = groups.compactMap { group in
      guard !group.ports.isEmpty || service.spec.clusterIP == "None" else { return nil }
      var subset = EndpointSubset()
      for endpoint in group.endpoints where left > 0 {
        guard let address = address(endpoint) else { continue }
        if endpoint.conditions.ready == true {
          subset.addresses.append(address)
        } else if endpoint.conditions.terminating != true {
          subset.notReadyAddresses.append(address)
        } else {
          continue
        }
        left -= 1
      }
      guard !subset.addresses.isEmpty || !subset.notReadyAddresses.isEmpty else { return nil }
      subset.ports = group.ports.map(port)
      return subset
    }
    wanted.metadata.annotations[overCapacity] = left == 0 ? "truncated" : nil
    return wanted
  }

  private static func address(_ endpoint: Endpoint) -> EndpointAddress? {
    guard let ip = endpoint.addresses.first else { return nil }
    var address = EndpointAddress()
    (address.ip, address.hostname, address.nodeName) = (ip, endpoint.hostname, endpoint.nodeName)
    address.targetRef = endpoint.targetRef
    return address
  }

  private static func port(_ port: EndpointPort) -> EndpointsPort {
    var same = EndpointsPort()
    same.name = port.name.flatMap { $0.isEmpty ? nil : $0 }
    (same.port, same.protocol, same.appProtocol) = (port.port ?? 0, port.protocol, port.appProtocol)
    return same
  }
}
