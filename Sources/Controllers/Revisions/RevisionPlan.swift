package import JSON
package import KubeModel

/// The history of an owner's pod template, as kubectl's rollout commands read it: one ControllerRevision for each
/// template that it had, numbered in the order in which they were last in use.
package struct RevisionPlan: Sendable {
  /// The revision of the present template, with the number that it should have; without a uid where it is to be made.
  package private(set) var update: ControllerRevision
  /// It exists, but with another number: its template was in use before and is again.
  package private(set) var mustRenumber = false
  /// Oldest first.
  package let history: [ControllerRevision]

  package static let hashLabel = "controller-revision-hash"

  package var mustCreate: Bool { update.metadata.uid == nil }

  package init<Owner: KubeKind>(
    template: PodTemplateSpec, of owner: Owner, collisionCount: Int32?, history unordered: [ControllerRevision]
  ) {
    history = unordered.sorted(by: Self.isOlder)
    let last = history.last?.revision ?? 0
    if let known = history.last(where: { Self.template(in: $0) == template }) {
      update = known
      if known.revision < last || known.revision == 0 {
        update.revision = last + 1
        mustRenumber = true
      }
      return
    }
    let hash = TemplateHash.of(template, collisionCount: collisionCount)
    update = ControllerRevision()
    update.metadata.name = "\(owner.metadata.name ?? "")-\(hash)"
    update.metadata.namespace = owner.metadata.namespace
    update.metadata.labels = template.metadata.labels
    update.metadata.labels[Self.hashLabel] = hash
    update.metadata.annotations = owner.metadata.annotations.filter {
      $0.key != "kubectl.kubernetes.io/last-applied-configuration"
    }
    update.metadata.ownerReferences = [owner.asController]
    update.data = RawJSON(Self.data(of: template))
    update.revision = last + 1
  }

  private static func isOlder(_ left: ControllerRevision, _ right: ControllerRevision) -> Bool {
    (left.revision, left.metadata.createdAt, left.metadata.name ?? "")
      < (right.revision, right.metadata.createdAt, right.metadata.name ?? "")
  }

  /// A strategic merge patch that makes an owner's template this one: what `kubectl rollout undo` sends.
  package static func data(of template: PodTemplateSpec) -> JSONValue {
    var members = template.json.object ?? JSONObject()
    members["$patch"] = "replace"
    return ["spec": ["template": .object(members)]]
  }

  /// Nil where the data are not such a patch.
  package static func template(in revision: ControllerRevision) -> PodTemplateSpec? {
    guard let value = revision.data?.json["spec"]?["template"] else { return nil }
    var decoder = FieldDecoder(isLenient: true)
    let template = PodTemplateSpec(value, &decoder)
    return decoder.problems.isEmpty ? template : nil
  }

  package static func hash(of revision: ControllerRevision) -> String {
    revision.metadata.labels[hashLabel] ?? revision.metadata.name ?? ""
  }

  /// Revisions beyond the limit, oldest first, without those that are in use.
  /// - Parameter live: names.
  package static func expendable(_ history: [ControllerRevision], live: Set<String>, limit: Int) -> [ControllerRevision]
  {
    let unused = history.filter { !live.contains($0.metadata.name ?? "") && !$0.metadata.isDeleting }
      .sorted(by: isOlder)
    return Array(unused.prefix(max(0, unused.count - max(0, limit))))
  }
}
