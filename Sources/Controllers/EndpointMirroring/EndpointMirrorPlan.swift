internal import Kernel
package import KubeModel

/// What EndpointSlices say of Endpoints that a person, or another program, keeps by hand for a Service without a selector.
package struct EndpointMirrorPlan: Sendable {
  package static let manager = "endpointslicemirroring-controller.k8s.io"
  private static let skipLabel = "endpointslice.kubernetes.io/skip-mirror"
  private static let headlessLabel = "service.kubernetes.io/headless"
  private static let leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
  private static let leftAnnotations: Set<String> = [
    "endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration",
  ]
  /// Addresses of one subset that are mirrored; one more is left out, and said.
  package static let addressesMax = 1000

  package private(set) var creations: [EndpointSlice] = []
  package private(set) var updates: [EndpointSlice] = []
  package private(set) var deletions: [EndpointSlice] = []
  /// Addresses that cannot be in a slice, or are too many.
  package private(set) var leftOut = 0

  /// Whether these are to be mirrored: kept by hand, for a Service that chooses no pods itself.
  package static func mirrors(_ endpoints: Endpoints?, _ service: Service?) -> Bool {
    guard let endpoints, let service, !endpoints.metadata.isDeleting else { return false }
    return service.spec.selector.isEmpty && endpoints.metadata.labels[skipLabel] != "true"
      && endpoints.metadata.labels[EndpointsPlan.managerLabel] == nil
      && endpoints.metadata.annotations[leaderAnnotation] == nil
  }

  private struct Kind: Hashable {
    var addressType: String
    var ports: [EndpointPort]
  }

  /// - Parameter slices: those of the Service that this makes.
  package init(for endpoints: Endpoints?, service: Service?, slices: [EndpointSlice]) {
    var wanted: [Kind: [Endpoint]] = [:]
    if let endpoints, Self.mirrors(endpoints, service) {
      for subset in endpoints.subsets { add(subset, to: &wanted) }
    }
    var left = wanted
    for slice in slices.sorted(by: { ($0.metadata.name ?? "") < ($1.metadata.name ?? "") }) {
      let kind = Kind(addressType: slice.addressType, ports: slice.ports)
      guard let endpoints, let found = left.removeValue(forKey: kind) else {
        deletions.append(slice)
        continue
      }
      let fresh = Self.dressed(slice, endpoints, found)
      if fresh != slice { updates.append(fresh) }
    }
    guard let endpoints else { return }
    for (kind, found) in left.sorted(by: { "\($0.key)" < "\($1.key)" }) {
      var slice = EndpointSlice()
      slice.metadata.namespace = endpoints.metadata.namespace
      slice.metadata.generateName = "\(endpoints.metadata.name ?? "")-"
      (slice.addressType, slice.ports) = (kind.addressType, kind.ports)
      creations.append(Self.dressed(slice, endpoints, found))
    }
  }

  private static func dressed(
    _ slice: EndpointSlice, _ endpoints: Endpoints, _ found: [Endpoint]
  ) -> EndpointSlice {
    var slice = slice
    slice.metadata.labels = endpoints.metadata.labels.filter { $0.key != headlessLabel }
    slice.metadata.labels[EndpointSlicePlan.serviceLabel] = endpoints.metadata.name
    slice.metadata.labels[EndpointSlicePlan.managerLabel] = manager
    slice.metadata.annotations = endpoints.metadata.annotations.filter { !leftAnnotations.contains($0.key) }
    slice.metadata.ownerReferences = [endpoints.asController]
    slice.endpoints = found
    return slice
  }

  private mutating func add(_ subset: EndpointSubset, to wanted: inout [Kind: [Endpoint]]) {
    let ports = subset.ports.map { port in
      var copy = EndpointPort()
      (copy.name, copy.port, copy.protocol) = (port.name ?? "", port.port, port.protocol ?? "TCP")
      copy.appProtocol = port.appProtocol
      return copy
    }
    var count = 0
    for (addresses, isReady) in [(subset.addresses, true), (subset.notReadyAddresses, false)] {
      for address in addresses {
        guard count < Self.addressesMax, let parsed = IPAddress(address.ip) else {
          leftOut += 1
          continue
        }
        count += 1
        var endpoint = Endpoint()
        endpoint.addresses = [address.ip]
        endpoint.conditions.ready = isReady
        (endpoint.hostname, endpoint.nodeName) = (address.hostname.flatMap { $0.isEmpty ? nil : $0 }, address.nodeName)
        endpoint.targetRef = address.targetRef
        wanted[Kind(addressType: parsed.family == .ipv4 ? "IPv4" : "IPv6", ports: ports), default: []].append(endpoint)
      }
    }
  }
}
