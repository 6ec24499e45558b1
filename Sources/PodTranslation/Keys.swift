/// Labels and annotations that a node agent puts on what it makes, so that it and others find it again.
package enum PodKey {
  package static let podName = "io.kubernetes.pod.name"
  package static let podNamespace = "io.kubernetes.pod.namespace"
  package static let podUID = "io.kubernetes.pod.uid"
  package static let containerName = "io.kubernetes.container.name"
  /// Of the node agent that owns the sandbox; others leave it alone.
  package static let agent = "martlet.dev/node"
  /// Annotations.
  package static let containerHash = "io.kubernetes.container.hash"
  package static let restartCount = "io.kubernetes.container.restartCount"
  package static let terminationMessagePath = "io.kubernetes.container.terminationMessagePath"
  package static let terminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
  package static let graceSeconds = "io.kubernetes.pod.terminationGracePeriod"
  package static let configSource = "kubernetes.io/config.source"
  /// The manifest that the pod came from: a file's name.
  package static let manifest = "martlet.dev/manifest"
}
