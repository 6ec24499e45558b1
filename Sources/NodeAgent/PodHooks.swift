internal import KubeModel
internal import PodTranslation

/// A pod as those see it who care for its packets.
package struct PodIdentity: Hashable, Sendable {
  package var namespace: String
  package var name: String
  package var uid: String
  /// Of this moment.
  package var labels: [String: String]
  /// Of the pod, or of the node where it uses the node's network.
  package var addresses: [String]
  package var usesHostNetwork: Bool

  package init(
    namespace: String, name: String, uid: String, labels: [String: String], addresses: [String],
    usesHostNetwork: Bool = false
  ) {
    (self.namespace, self.name, self.uid) = (namespace, name, uid)
    (self.labels, self.addresses, self.usesHostNetwork) = (labels, addresses, usesHostNetwork)
  }

  init(_ translation: PodTranslation, addresses: [String]) {
    self.init(
      namespace: translation.namespace, name: translation.name, uid: translation.uid,
      labels: translation.pod.metadata.labels, addresses: addresses, usesHostNetwork: translation.usesHostNetwork)
  }
}

/// What others do at turns of a pod's life. The pod waits for each; whoever blocks here bounds it.
package struct PodHooks: Sendable {
  /// After RunPodSandbox, when the pod's addresses are known and before its first container starts; again for each later
  /// sandbox. Not for pods that an agent takes over, whose containers run already.
  /// - Throws: what keeps the pod from running; the sandbox is removed and tried again with growing pauses.
  package var sandboxReady: @Sendable (PodIdentity) async throws -> Void = { _ in }
  /// Before a container's stop hook and its StopContainer, whatever the reason: returns when no new connection of a
  /// Service comes to a pod that is not ready any more.
  package var beforeStop: @Sendable (PodIdentity, _ container: String) async -> Void = { _, _ in }
  /// When the last sandbox of a pod that goes is removed: its addresses may be another's from now on.
  package var sandboxesGone: @Sendable (PodIdentity) async -> Void = { _ in }

  package init() {}
}
