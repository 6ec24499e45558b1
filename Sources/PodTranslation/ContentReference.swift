package import KubeModel

/// A ConfigMap or Secret that a pod is made from, by name.
package struct ContentReference: Hashable, Sendable, Comparable {
  package enum Kind: String, Hashable, Sendable { case configMap, secret }
  package var kind: Kind
  package var namespace: String
  package var name: String

  package init(_ kind: Kind, namespace: String, name: String) {
    (self.kind, self.namespace, self.name) = (kind, namespace, name)
  }

  package static func < (left: Self, right: Self) -> Bool {
    (left.kind.rawValue, left.namespace, left.name) < (right.kind.rawValue, right.namespace, right.name)
  }

  /// All that the pod's variables, volumes and image pulls name, optional ones too.
  package static func all(of pod: Pod) -> Set<ContentReference> {
    var found: Set<ContentReference> = []
    func add(_ kind: Kind, _ name: String?) {
      guard let name, !name.isEmpty else { return }
      found.insert(ContentReference(kind, namespace: pod.metadata.namespace ?? "default", name: name))
    }
    for container in pod.spec.initContainers + pod.spec.containers + pod.ephemeralContainers {
      for source in container.envFrom {
        add(.configMap, source.configMapRef?.name)
        add(.secret, source.secretRef?.name)
      }
      for variable in container.env {
        add(.configMap, variable.valueFrom?.configMapKeyRef?.name)
        add(.secret, variable.valueFrom?.secretKeyRef?.name)
      }
    }
    for volume in pod.spec.volumes {
      add(.configMap, volume.configMap?.name)
      add(.secret, volume.secret?.secretName)
      for source in volume.projected?.sources ?? [] {
        add(.configMap, source.configMap?.name)
        add(.secret, source.secret?.name)
      }
    }
    for secret in pod.spec.imagePullSecrets { add(.secret, secret.name) }
    return found
  }
}
