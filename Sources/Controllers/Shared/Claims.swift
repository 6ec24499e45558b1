internal import KubeClient
package import KubeModel

/// Which of the objects near a controller are its own, which become so, and which it lets go.
///
/// Ownership is by uid, never by name: a controller deleted and made again owns nothing of its forerunner's.
package struct Claims<Object: KubeKind>: Sendable {
  /// Already owned, and matched by the selector.
  package private(set) var owned: [Object] = []
  /// Matched, without a controller: to be adopted, after a fresh read shows that the owner still lives.
  package private(set) var adopted: [Object] = []
  /// Owned, and no longer matched: to be let go.
  package private(set) var released: [Object] = []

  package init(of owner: ObjectMeta, selector: LabelSelector, among objects: [Object]) {
    for object in objects {
      guard object.metadata.namespace == owner.namespace else { continue }
      let matches = selector.matches(object.metadata.labels)
      if let controller = object.metadata.controllerReference {
        guard controller.uid == owner.uid else { continue }
        if matches {
          owned.append(object)
        } else if !owner.isDeleting {
          released.append(object)
        }
      } else if matches, !owner.isDeleting, !object.metadata.isDeleting {
        adopted.append(object)
      }
    }
  }
}
