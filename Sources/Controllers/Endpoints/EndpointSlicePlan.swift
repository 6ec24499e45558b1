internal import KubeClient
package import KubeModel

/// What to write so that a Service's EndpointSlices say what its pods offer: as few slices as the change needs.
package struct EndpointSlicePlan: Sendable {
  package static let endpointsMax = 100
  package static let serviceLabel = "kubernetes.io/service-name"
  package static let managerLabel = "endpointslice.kubernetes.io/managed-by"
  package static let manager = "endpointslice-controller.k8s.io"
  package static let headlessLabel = "service.kubernetes.io/headless"

  package private(set) var creations: [EndpointSlice] = []
  package private(set) var updates: [EndpointSlice] = []
  package private(set) var deletions: [EndpointSlice] = []

  /// - Parameters:
  ///   - pods: those of the service's namespace, or fewer; the selector is applied here.
  ///   - slices: the service's slices that this controller manages.
  package init(for service: Service, pods: [Pod], slices: [EndpointSlice], zones: [String: String]) {
    let live = slices.filter { !$0.metadata.isDeleting }
    let types = ServiceEndpoints.addressTypes(of: service)
    deletions = live.filter { !types.contains($0.addressType) }
    for type in types {
      var family = Family(service: service, addressType: type)
      family.plan(
        ServiceEndpoints(of: service, pods: pods, addressType: type, zones: zones).groups,
        existing: live.filter { $0.addressType == type }.sorted { $0.metadata.key < $1.metadata.key })
      creations += family.creations
      updates += family.updates
      deletions += family.deletions
    }
  }

  /// Whether a Service's endpoints are found by its selector at all.
  package static func isManaged(_ service: Service) -> Bool {
    !service.spec.selector.isEmpty && service.spec.type != "ExternalName" && !service.metadata.isDeleting
  }

  package static func labels(for service: Service) -> [String: String] {
    var labels = service.metadata.labels
    labels[headlessLabel] = isHeadless(service) ? "" : nil
    labels[serviceLabel] = service.metadata.name
    labels[managerLabel] = manager
    return labels
  }

  private static func isHeadless(_ service: Service) -> Bool { service.spec.clusterIP == "None" }
}

/// The slices of one Service and one address family.
private struct Family {
  let service: Service
  let addressType: String
  var creations: [EndpointSlice] = []
  var updates: [EndpointSlice] = []
  var deletions: [EndpointSlice] = []
  private var kept = 0

  init(service: Service, addressType: String) {
    self.service = service
    self.addressType = addressType
  }

  mutating func plan(_ groups: [ServiceEndpoints.Group], existing: [EndpointSlice]) {
    var byPorts = Dictionary(grouping: existing) { Set($0.ports) }
    for group in groups { plan(group, existing: byPorts.removeValue(forKey: Set(group.ports)) ?? []) }
    deletions += byPorts.sorted { $0.value[0].metadata.key < $1.value[0].metadata.key }
      .flatMap(\.value)
    // A service without endpoints has one empty slice, so that its emptiness can be told from not being looked at.
    if creations.isEmpty, updates.isEmpty, kept == 0 { creations.append(slice(ports: [], endpoints: [])) }
    reuse()
  }

  /// Keeps what is right where it stands, fills what must be written anyway, then the fullest slice with enough room;
  /// only what is left makes new slices.
  private mutating func plan(_ group: ServiceEndpoints.Group, existing: [EndpointSlice]) {
    var wanted: [Endpoint.Identity: Endpoint] = [:]
    for endpoint in group.endpoints { wanted[endpoint.identity] = endpoint }
    var (changed, unchanged): ([EndpointSlice], [EndpointSlice]) = ([], [])
    for var slice in existing {
      let before = slice
      slice.endpoints = slice.endpoints.compactMap { wanted.removeValue(forKey: $0.identity) }
      slice.metadata.labels = EndpointSlicePlan.labels(for: service)
      slice.metadata.ownerReferences = [service.asController]
      if slice == before { unchanged.append(slice) } else { changed.append(slice) }
    }
    var left = group.endpoints.filter { wanted.removeValue(forKey: $0.identity) != nil }
    for index in changed.indices where !left.isEmpty {
      let room = EndpointSlicePlan.endpointsMax - changed[index].endpoints.count
      changed[index].endpoints += left.prefix(max(0, room))
      left.removeFirst(min(left.count, max(0, room)))
    }
    while !left.isEmpty {
      let count = min(left.count, EndpointSlicePlan.endpointsMax)
      let fitting = unchanged.indices.filter {
        unchanged[$0].endpoints.count + count <= EndpointSlicePlan.endpointsMax
      }
      if let fullest = fitting.max(by: { unchanged[$0].endpoints.count < unchanged[$1].endpoints.count }) {
        var slice = unchanged.remove(at: fullest)
        slice.endpoints += left.prefix(count)
        changed.append(slice)
      } else {
        creations.append(slice(ports: group.ports, endpoints: Array(left.prefix(count))))
      }
      left.removeFirst(count)
    }
    updates += changed.filter { !$0.endpoints.isEmpty }
    deletions += (changed + unchanged).filter(\.endpoints.isEmpty)
    kept += unchanged.count { !$0.endpoints.isEmpty }
  }

  /// A slice to be made takes the place of one to be deleted: one write instead of two, and no moment without either.
  private mutating func reuse() {
    while let made = creations.last, var slice = deletions.last {
      creations.removeLast()
      deletions.removeLast()
      let before = slice
      slice.ports = made.ports
      slice.endpoints = made.endpoints
      slice.metadata.labels = made.metadata.labels
      slice.metadata.ownerReferences = made.metadata.ownerReferences
      if slice != before { updates.append(slice) }
    }
  }

  private func slice(ports: [EndpointPort], endpoints: [Endpoint]) -> EndpointSlice {
    var slice = EndpointSlice()
    slice.metadata.namespace = service.metadata.namespace
    slice.metadata.generateName = "\(service.metadata.name ?? "")-"
    slice.metadata.labels = EndpointSlicePlan.labels(for: service)
    slice.metadata.ownerReferences = [service.asController]
    slice.addressType = addressType
    slice.ports = ports
    slice.endpoints = endpoints
    return slice
  }
}
