package import KubeModel
internal import PodTranslation

/// A pod as those see it who care for its packets.
package struct PodIdentity: Hashable, Sendable {
  package var namespace: String
  package var name: String
  package var uid: String
  /// Of this moment.
  package var labels: [String: String]
  /// The whole pod, of this moment.
  package var pod: Pod
  /// Of the pod, or of the node where it uses the node's network.
  package var addresses: [String]
  package var usesHostNetwork: Bool

  init(_ translation: PodTranslation, addresses: [String]) {
    (namespace, name, uid) = (translation.namespace, translation.name, translation.uid)
    pod = translation.pod
    (labels, usesHostNetwork) = (pod.metadata.labels, translation.usesHostNetwork)
    self.addresses = addresses
  }
}

/// What others do at turns of a pod's life. The pod waits for each; whoever blocks here bounds it.
package struct PodHooks: Sendable {
  /// After RunPodSandbox, when the pod's addresses are known and before its first container starts; again for each later
  /// sandbox. For pods that an agent takes over, once when it does; their containers run already, and a failure is logged.
  /// - Throws: what keeps the pod from running; the sandbox is removed and tried again with growing pauses.
  package var sandboxReady: @Sendable (PodIdentity) async throws -> Void = { _ in }
  /// Before a container's stop hook and its StopContainer, whatever the reason: returns when no new connection of a
  /// Service comes to a pod that is not ready any more.
  package var beforeStop: @Sendable (PodIdentity, _ container: String) async -> Void = { _, _ in }
  /// When the last sandbox of a pod that goes is removed: its addresses may be another's from now on.
  package var sandboxesGone: @Sendable (PodIdentity) async -> Void = { _ in }

  package init() {}
}
