internal import DNSMessage
internal import Kernel
internal import KubeModel

/// Services and EndpointSlices as the zone has them.
enum ZoneObjects {
  private static let serviceNameLabel = "kubernetes.io/service-name"

  static func key(_ metadata: ObjectMeta) -> ZoneKey {
    ZoneKey(namespace: metadata.namespace ?? "default", name: metadata.name ?? "")
  }

  static func service(_ service: Service) -> ZoneService {
    let ports = service.spec.ports.map { port in
      ZonePort(
        name: port.name ?? "", transport: (port.`protocol` ?? "TCP").lowercased(),
        port: UInt16(clamping: port.port))
    }
    if service.spec.type == "ExternalName" {
      // An address is no name: there is nothing to say for it.
      guard let text = service.spec.externalName, IPAddress(text) == nil, let target = DNSName(text) else {
        return ZoneService(kind: .headless, ports: [])
      }
      return ZoneService(kind: .external(target), ports: ports)
    }
    var texts = service.spec.clusterIPs
    if texts.isEmpty, let one = service.spec.clusterIP { texts = [one] }
    let addresses = texts.compactMap { IPAddress($0)?.bytes }
    return ZoneService(kind: addresses.isEmpty ? .headless : .virtual(addresses), ports: ports)
  }

  /// The Service that the slice is of; nil: none.
  static func owner(_ slice: EndpointSlice) -> ZoneKey? {
    slice.metadata.labels[serviceNameLabel].map {
      ZoneKey(namespace: slice.metadata.namespace ?? "default", name: $0)
    }
  }

  /// Its ready endpoints: the controller calls them ready also where a Service publishes those that are not.
  static func slice(_ slice: EndpointSlice) -> ZoneSlice {
    let endpoints = slice.endpoints.filter { $0.conditions.ready ?? true }.flatMap { endpoint in
      endpoint.addresses.compactMap { IPAddress($0)?.bytes }.map { address in
        let hostname = endpoint.hostname.flatMap { $0.isEmpty ? nil : $0.lowercased() }
        return ZoneSlice.Endpoint(address: address, hostname: hostname)
      }
    }
    let ports = slice.ports.compactMap { port in
      port.port.map {
        ZonePort(
          name: port.name ?? "", transport: (port.`protocol` ?? "TCP").lowercased(), port: UInt16(clamping: $0))
      }
    }
    return ZoneSlice(endpoints: endpoints, ports: ports)
  }
}
