"""Files of a warehouse behind a few verbs: on this machine, or in S3.

``base``: the verbs · ``local``, ``s3``: the two stores · ``places``: from a location to its store · ``s3_options``,
``s3_access``, ``s3_errors``: what the profile says, keys and clients, what goes wrong
"""

from dbt.adapters.lakehouse.storage.base import LOCAL as LOCAL
from dbt.adapters.lakehouse.storage.base import S3 as S3
from dbt.adapters.lakehouse.storage.base import Storage as Storage
from dbt.adapters.lakehouse.storage.base import StoredFile as StoredFile
from dbt.adapters.lakehouse.storage.base import folder_name as folder_name
from dbt.adapters.lakehouse.storage.base import uri_of as uri_of
from dbt.adapters.lakehouse.storage.local import LocalStorage as LocalStorage
from dbt.adapters.lakehouse.storage.places import check_warehouse as check_warehouse
from dbt.adapters.lakehouse.storage.places import storage_for as storage_for
from dbt.adapters.lakehouse.storage.places import worker_environment as worker_environment
