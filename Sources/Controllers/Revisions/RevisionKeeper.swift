internal import JSON
internal import KubeClient
internal import KubeModel

/// Keeps the ControllerRevisions of owners of one kind.
struct RevisionKeeper: Sendable {
  let context: ControllerContext
  let revisions: Informer<ControllerRevision>

  enum Kept: Sendable {
    /// The history with the present revision in it.
    case plan(RevisionPlan, current: ControllerRevision)
    /// Its name belongs to another object: plan again with another collision count.
    case nameTaken
  }

  init(_ context: ControllerContext) {
    self.context = context
    revisions = context.informers.informer()
    Index.addOwners(to: revisions)
  }

  /// Adopts, makes and numbers revisions so that the present template has one.
  func keep<Owner: KubeResource>(
    _ template: PodTemplateSpec, of owner: Owner, selector: LabelSelector, collisionCount: Int32?
  ) async throws(KubeError) -> Kept {
    let near =
      revisions.list(index: Index.controller, owner.metadata.uid ?? "")
      + revisions.list(index: Index.orphan, owner.metadata.namespace ?? "")
    let claims = Claims(of: owner.metadata, selector: selector, among: selector.isEmpty ? [] : near)
    let owned = try await context.settle(claims, for: owner)
    let plan = RevisionPlan(template: template, of: owner, collisionCount: collisionCount, history: owned)
    if plan.mustRenumber {
      let number = plan.update.revision
      let written = try await context.client.update(retrying: plan.update) { fresh in
        fresh.revision = number
        return true
      }
      return .plan(plan, current: written)
    }
    guard plan.mustCreate, !owner.metadata.isDeleting else { return .plan(plan, current: plan.update) }
    do throws(KubeError) {
      return .plan(plan, current: try await context.client.create(plan.update))
    } catch {
      guard error.isAlreadyExists else { throw error }
    }
    let existing: ControllerRevision = try await context.client.get(
      name: plan.update.metadata.name ?? "", namespace: owner.metadata.namespace)
    let isOurs = existing.metadata.isControlled(byUID: owner.metadata.uid)
    guard isOurs, RevisionPlan.template(in: existing) == template else { return .nameTaken }
    return .plan(plan, current: existing)
  }

  func drop(_ expendable: [ControllerRevision]) async throws(KubeError) {
    for revision in expendable {
      do throws(KubeError) {
        try await context.client.delete(
          ControllerRevision.self, name: revision.metadata.name ?? "", namespace: revision.metadata.namespace,
          uid: revision.metadata.uid)
      } catch {
        guard error.isNotFound || error.isConflict else { throw error }
      }
    }
  }
}
