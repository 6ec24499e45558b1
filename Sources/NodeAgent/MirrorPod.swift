package import KubeModel

/// A pod of a file as an API server shows it: a copy that nobody runs and that says how the pod of the file is.
/// https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
package enum MirrorPod {
  package static let mirrorKey = "kubernetes.io/config.mirror"
  package static let hashKey = "kubernetes.io/config.hash"
  package static let sourceKey = "kubernetes.io/config.source"

  /// What is to be done about the mirror of one name.
  package enum Step: Hashable, Sendable {
    case nothing
    case create
    /// It shows another pod than the one that runs, or one that is gone, or somebody wants it away.
    case delete
    /// It shows the pod: its status is that of the pod.
    case report
  }

  package static func isMirror(_ pod: Pod) -> Bool { pod.metadata.annotations[mirrorKey] != nil }

  /// - Parameters:
  ///   - own: the uid of the pod of a file that has this name here; nil: there is none.
  ///   - shown: what the server has under the name.
  package static func step(own: String?, shown: Pod?) -> Step {
    guard let shown else { return own == nil ? .nothing : .create }
    // Another's pod has the name: the one of the file runs without a mirror.
    guard let of = shown.metadata.annotations[mirrorKey] else { return .nothing }
    return of == own && shown.metadata.deletionTimestamp == nil ? .report : .delete
  }

  /// What the pod refers to that only this node's files have, and a server must not be told of: a node that made a pod
  /// which names a secret could read it.
  package static func hindrance(_ pod: Pod) -> String? {
    var names: [String] = []
    for container in pod.spec.initContainers + pod.spec.containers {
      names += container.envFrom.compactMap { $0.configMapRef?.name }.map { "configmap \"\($0)\"" }
      names += container.envFrom.compactMap { $0.secretRef?.name }.map { "secret \"\($0)\"" }
      for source in container.env.compactMap(\.valueFrom) {
        if let reference = source.configMapKeyRef { names.append("configmap \"\(reference.name ?? "")\"") }
        if let reference = source.secretKeyRef { names.append("secret \"\(reference.name ?? "")\"") }
      }
    }
    for volume in pod.spec.volumes {
      if let map = volume.configMap { names.append("configmap \"\(map.name ?? "")\"") }
      if let secret = volume.secret { names.append("secret \"\(secret.secretName ?? "")\"") }
      for source in volume.projected?.sources ?? [] {
        if let map = source.configMap { names.append("configmap \"\(map.name ?? "")\"") }
        if let secret = source.secret { names.append("secret \"\(secret.name ?? "")\"") }
      }
    }
    return names.first
  }

  /// The mirror as it is created.
  /// - Parameter node: the owner, so that the mirror goes with its node.
  package static func make(of pod: Pod, node: Node) -> Pod {
    var mirror = Pod()
    mirror.metadata.name = pod.metadata.name
    mirror.metadata.namespace = pod.metadata.namespace
    mirror.metadata.labels = pod.metadata.labels
    mirror.metadata.annotations = pod.metadata.annotations
    let uid = pod.metadata.uid ?? ""
    mirror.metadata.annotations[mirrorKey] = uid
    mirror.metadata.annotations[hashKey] = uid
    mirror.metadata.annotations[sourceKey] = "file"
    var owner = OwnerReference()
    (owner.apiVersion, owner.kind) = ("v1", "Node")
    (owner.name, owner.uid) = (node.metadata.name ?? "", node.metadata.uid ?? "")
    owner.controller = true
    mirror.metadata.ownerReferences = [owner]
    mirror.spec = pod.spec
    // The server works these out itself.
    (mirror.spec.priority, mirror.spec.preemptionPolicy) = (nil, nil)
    // What runs from a file does not end because its node is not ready, so its mirror must not either.
    var toleration = Toleration()
    (toleration.`operator`, toleration.effect) = ("Exists", "NoExecute")
    if !mirror.spec.tolerations.contains(toleration) { mirror.spec.tolerations.append(toleration) }
    return mirror
  }
}
