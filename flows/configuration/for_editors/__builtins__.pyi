from asyncengine_script import Reject as Reject
from asyncengine_script import Retry as Retry
from asyncengine_script import Wait as Wait
