package import KubeClient
package import KubeModel

/// What decides on which nodes a pod's volumes can be: claims, volumes and classes.
package struct VolumeFacts: Sendable {
  package struct Claim: Sendable, Hashable {
    package let key: ObjectKey
    let volume: String?
    let className: String
    /// It names no class, not even the empty one: it will get the default one.
    let takesDefault: Bool
    let selectedNode: String?
    let accessModes: [String]
    let mode: String
    let bytes: Int64
    let selector: LabelSelector?
    let uid: String
    let isDeleting: Bool

    package init(_ claim: PersistentVolumeClaim) {
      key = ObjectKey(claim)
      let isBound = claim.metadata.annotations["pv.kubernetes.io/bind-completed"] != nil
      volume = isBound ? claim.spec.volumeName.flatMap { $0.isEmpty ? nil : $0 } : nil
      className = claim.spec.storageClassName ?? ""
      takesDefault = claim.spec.storageClassName == nil
      selectedNode = claim.metadata.annotations[VolumeFacts.selectedNode]
      accessModes = claim.spec.accessModes
      mode = claim.spec.volumeMode ?? "Filesystem"
      bytes = claim.spec.resources.requests["storage"]?.value ?? 0
      selector = claim.spec.selector
      uid = claim.metadata.uid ?? ""
      isDeleting = claim.metadata.deletionTimestamp != nil
    }

    /// Nothing else may use it while a pod does.
    var isForOnePod: Bool { accessModes.contains("ReadWriteOncePod") }
  }

  package struct Volume: Sendable, Hashable {
    let name: String
    let required: NodeSelector?
    let className: String
    let accessModes: [String]
    let mode: String
    let bytes: Int64
    let labels: [String: String]
    /// Namespace, name and uid of the claim that has it.
    let claim: [String]?
    let isDeleting: Bool

    package init(_ volume: PersistentVolume) {
      name = volume.metadata.name ?? ""
      required = volume.spec.nodeAffinity?.required
      className = volume.spec.storageClassName ?? ""
      accessModes = volume.spec.accessModes
      mode = volume.spec.volumeMode ?? "Filesystem"
      bytes = volume.spec.capacity["storage"]?.value ?? 0
      labels = volume.metadata.labels
      claim = volume.spec.claimRef.map { [$0.namespace ?? "", $0.name ?? "", $0.uid ?? ""] }
      isDeleting = volume.metadata.deletionTimestamp != nil
    }

    func isReachable(from node: NodeSnapshot) -> Bool {
      required.map { $0.nodeSelectorTerms.contains { $0.matches(node) } } ?? true
    }

    func satisfies(_ wanted: Claim) -> Bool {
      if let claim {
        guard claim[0] == wanted.key.namespace, claim[1] == wanted.key.name, claim[2].isEmpty || claim[2] == wanted.uid
        else { return false }
      }
      return !isDeleting && className == wanted.className && mode == wanted.mode && bytes >= wanted.bytes
        && Set(accessModes).isSuperset(of: wanted.accessModes) && wanted.selector?.matches(labels) ?? true
    }
  }

  package struct Class: Sendable, Hashable {
    let provisions: Bool
    let waitsForConsumer: Bool
    let topologies: [TopologySelectorTerm]
    let isDefault: Bool

    package init(_ kind: StorageClass) {
      isDefault = kind.metadata.annotations["storageclass.kubernetes.io/is-default-class"] == "true"
      provisions = kind.provisioner != "kubernetes.io/no-provisioner"
      waitsForConsumer = kind.volumeBindingMode == "WaitForFirstConsumer"
      topologies = kind.allowedTopologies
    }

    func mayProvision(on node: NodeSnapshot) -> Bool {
      guard provisions else { return false }
      return topologies.isEmpty
        || topologies.contains { term in
          term.matchLabelExpressions.allSatisfy { wanted in
            node.labels[wanted.key].map(wanted.values.contains) ?? false
          }
        }
    }
  }

  package static let selectedNode = "volume.kubernetes.io/selected-node"

  package var claims: [ObjectKey: Claim] = [:]
  package var volumes: [String: Volume] = [:]
  package var classes: [String: Class] = [:]

  package init() {}

  /// Claims of the pod that wait for its node: they have to be told which it is.
  package func unbound(of pod: PodFacts) -> [ObjectKey] {
    pod.needs.claims.map { ObjectKey(namespace: pod.key.namespace, name: $0) }
      .filter { claims[$0].map { $0.volume == nil } ?? true }
  }
}

/// What a pod's claims mean for each node. Made once for a decision.
struct PodVolumes {
  private var bound: [VolumeFacts.Volume] = []
  private var waiting: [(claim: VolumeFacts.Claim, kind: VolumeFacts.Class, fitting: [VolumeFacts.Volume])] = []
  private var exclusive: [String] = []
  private let namespace: String
  /// What keeps the pod from every node.
  private(set) var obstacle: Obstacle?

  /// Nil where the pod has no claims.
  init?(_ pod: PodFacts, _ facts: VolumeFacts) {
    guard !pod.needs.claims.isEmpty else { return nil }
    namespace = pod.key.namespace
    for name in pod.needs.claims {
      guard let claim = facts.claims[ObjectKey(namespace: namespace, name: name)] else {
        obstacle = .claim("persistentvolumeclaim \"\(name)\" not found")
        return
      }
      if claim.isDeleting {
        obstacle = .claim("persistentvolumeclaim \"\(name)\" is being deleted")
        return
      }
      if claim.isForOnePod { exclusive.append(name) }
      if let volume = claim.volume {
        guard let known = facts.volumes[volume] else {
          obstacle = .claim("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
          return
        }
        bound.append(known)
        continue
      }
      let kind = claim.takesDefault ? facts.classes.values.first(where: \.isDefault) : facts.classes[claim.className]
      guard let kind, kind.waitsForConsumer else {
        obstacle = .claim("pod has unbound immediate PersistentVolumeClaims")
        return
      }
      waiting.append((claim, kind, facts.volumes.values.filter { $0.satisfies(claim) }))
    }
  }

  func obstacle(_ node: NodeSnapshot) -> Obstacle? {
    if let obstacle { return obstacle }
    if !exclusive.isEmpty,
      node.pods.values.contains(where: { other in
        other.key.namespace == namespace && other.needs.claims.contains(where: exclusive.contains)
      })
    {
      return .claimInUse
    }
    if bound.contains(where: { !$0.isReachable(from: node) }) { return .volumeAffinity }
    var taken: Set<String> = []
    for (claim, kind, fitting) in waiting {
      if let chosen = claim.selectedNode, chosen != node.name { return .volumeBinding }
      let fit = fitting.first { !taken.contains($0.name) && $0.isReachable(from: node) }
      if let fit {
        taken.insert(fit.name)
      } else if !kind.mayProvision(on: node) {
        return .volumeBinding
      }
    }
    return nil
  }
}
